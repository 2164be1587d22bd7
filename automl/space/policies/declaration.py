"""Policies as an experiment writes them: parsed, checked, and written again.

```
augmentation_policies:
  inspection:
    - horizontal_flip
    - affine: {scale: 0.3, rotate: 15, p: 0.8}
    - elastic: {magnitude: 0.5, p: {float: [0.0, 0.8]}}
```
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from automl.space.domains import Domain
from automl.space.faults import Fault, FaultsError, unknown_key, wrong_value
from automl.space.forms import domain_form, parse_domain
from automl.space.limits import Limits
from automl.space.parameter_table import PARAMETERS
from automl.space.policies.transforms import TRANSFORMS
from automl.space.search_space import space_faults

_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_NAME_RULE = "a name of a-z, 0-9, _ and -, such as inspection"
_ITEM_RULE = "a transform such as {horizontal_flip: {p: 0.5}}, or its name alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDeclaration:
    """One transform as declared: a domain for each key that was given."""

    kind: str
    domains: Mapping[str, Domain]

    @property
    def limits(self) -> Mapping[str, Limits]:
        """What its keys may be."""
        return TRANSFORMS[self.kind].limits


#: The declared policies by name, each with its transforms in order.
Policies = Mapping[str, tuple[StepDeclaration, ...]]


def is_fixed(domain: Domain) -> bool:
    """Whether a domain is one plain value."""
    return domain.size == 1 and not domain.when


def parse_policies(raw: object) -> Policies:
    """Read the declared policies; raises FaultsError with every fault."""
    if not isinstance(raw, Mapping):
        raise FaultsError([wrong_value((), raw, "a mapping from names to lists of transforms")])
    policies: dict[str, tuple[StepDeclaration, ...]] = {}
    faults: list[Fault] = []
    for name, items in raw.items():
        faults += [fault.under(str(name)) for fault in _name_faults(str(name), items)]
        if not isinstance(items, (list, tuple)):
            continue
        steps, found = _parse_items(items)
        faults += [fault.under(str(name)) for fault in found]
        policies[str(name)] = tuple(steps)
    if faults:
        raise FaultsError(faults)
    return policies


def policies_form(policies: Policies) -> dict[str, list[object]]:
    """The written form, made of plain JSON values."""
    return {
        name: [
            {step.kind: {key: domain_form(domain) for key, domain in step.domains.items()}}
            for step in steps
        ]
        for name, steps in policies.items()
    }


def _name_faults(name: str, items: object) -> list[Fault]:
    built_in = PARAMETERS["augmentation"].options
    if name in built_in:
        return [Fault(path=(), problem=f"already built in, as are {', '.join(built_in)}")]
    if not _NAME.fullmatch(name):
        return [Fault(path=(), problem=f"given {name!r}; allowed: {_NAME_RULE}")]
    if not isinstance(items, (list, tuple)) or not items:
        return [wrong_value((), items, f"a list of transforms, each {_ITEM_RULE}")]
    return []


def _parse_items(
    items: list[object] | tuple[object, ...],
) -> tuple[list[StepDeclaration], list[Fault]]:
    steps: list[StepDeclaration] = []
    faults: list[Fault] = []
    first: dict[str, int] = {}
    for index, item in enumerate(items):
        try:
            step = _parse_item(item)
        except FaultsError as error:
            faults += [fault.under(index) for fault in error.faults]
            continue
        if step.kind in first:
            problem = f"a policy has each transform once; it is item {first[step.kind]}, too"
            faults.append(Fault(path=(index, step.kind), problem=problem))
        first.setdefault(step.kind, index)
        steps.append(step)
    return steps, faults


def _parse_item(item: object) -> StepDeclaration:
    if isinstance(item, str):
        item = {item: None}
    if not isinstance(item, Mapping) or len(item) != 1:
        raise FaultsError([wrong_value((), item, _ITEM_RULE)])
    ((kind, given),) = item.items()
    if kind not in TRANSFORMS:
        raise FaultsError([unknown_key((str(kind),), tuple(TRANSFORMS))])
    values = {} if given is None else given
    limits = TRANSFORMS[kind].limits
    if not isinstance(values, Mapping):
        allowed = f"a mapping with some of {', '.join(limits)}"
        raise FaultsError([wrong_value((kind,), given, allowed)])
    domains, faults = _parse_values(values, limits)
    if not faults and "magnitude" in domains and TRANSFORMS[kind].settings.keys() <= domains.keys():
        problem = "without effect, since every setting of this transform is given"
        faults.append(Fault(path=("magnitude",), problem=problem))
    if faults:
        raise FaultsError([fault.under(kind) for fault in faults])
    return StepDeclaration(kind=kind, domains=domains)


def _parse_values(
    values: Mapping[str, object], limits: Mapping[str, Limits]
) -> tuple[dict[str, Domain], list[Fault]]:
    domains: dict[str, Domain] = {}
    faults: list[Fault] = []
    for key, form in values.items():
        if key not in limits:
            faults.append(unknown_key((str(key),), tuple(limits)))
            continue
        try:
            domain = parse_domain(limits[key], form)
        except FaultsError as error:
            faults += [fault.under(key) for fault in error.faults]
            continue
        domains[key] = domain
        # Conditions name parameters of the space, which only the whole experiment knows.
        faults += [
            fault
            for fault in space_faults({key: domain}, limits)
            if fault.path[:2] != (key, "when")
        ]
        if "augmentation" in domain.when:
            problem = "it exists for its own policy alone; a condition cannot name another"
            faults.append(Fault(path=(key, "when", "augmentation"), problem=problem))
    return domains, faults
