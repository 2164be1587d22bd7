"""Declared policies in a space: their searched values are ordinary parameters of it.

A searched probability, magnitude or setting is the parameter `augmentation.POLICY.TRANSFORM.KEY`;
it is active where the trial augments with its policy, and where its own condition holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from automl.records import Scalar
from automl.space.domains import Choice, Condition, Domain
from automl.space.faults import Fault
from automl.space.forms import parse_domains
from automl.space.limits import Limits
from automl.space.parameter_table import PARAMETERS
from automl.space.parameters import POLICY_PREFIX, is_policy_parameter
from automl.space.policies.declaration import Policies, StepDeclaration, is_fixed
from automl.space.policies.policy import Policy, Step
from automl.space.policies.transforms import DEFAULT_P, TRANSFORMS
from automl.space.search_space import SearchSpace


def parameter_name(policy: str, kind: str, key: str) -> str:
    """What a searched value of a policy is called in a space."""
    return f"{POLICY_PREFIX}{policy}.{kind}.{key}"


def space_with_policies(raw: object, policies: Policies) -> SearchSpace:
    """Build the space of an image trial, with what its policies search.

    Policies that no trial of the space can take add nothing. Raises FaultsError with every fault.
    """
    augmentation = PARAMETERS["augmentation"]
    options = (*augmentation.options, *policies)
    named: dict[str, Limits] = {
        **PARAMETERS,
        "augmentation": replace(augmentation, options=options, open=False),
    }
    domains = parse_domains(raw, named)
    inner = dict(_inner_domains(policies, domains.get("augmentation")))
    limits = {name: PARAMETERS_OF[name.rsplit(".", 2)[1]][name.rsplit(".", 1)[1]] for name in inner}
    return SearchSpace(domains={**domains, **inner}, vocabulary={**named, **limits})


#: What each key of each transform may be.
PARAMETERS_OF: Mapping[str, Mapping[str, Limits]] = {
    kind: transform.limits for kind, transform in TRANSFORMS.items()
}


def resolved_policy(policies: Policies, params: Mapping[str, Scalar]) -> Policy | None:
    """What a trial's sampled values make of the policy that it takes; None for a built-in one.

    A value whose own condition does not hold is the default of its domain.
    """
    name = str(params.get("augmentation", ""))
    if name not in policies:
        return None
    return Policy(name=name, steps=tuple(_step(name, step, params) for step in policies[name]))


def policy_parameters(params: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """What of a trial's values belongs to its policy."""
    return {name: value for name, value in params.items() if is_policy_parameter(name)}


def where_declared(fault: Fault, plain: object) -> Fault:
    """A fault of a policy's parameter in the space, told where the experiment writes the policy."""
    parts = str(fault.path[1]).split(".") if fault.path[:1] == ("space",) and fault.path[1:] else []
    if len(parts) != 4:
        return fault
    _, policy, kind, key = parts
    policies = plain.get("augmentation_policies") if isinstance(plain, Mapping) else None
    items = policies.get(policy) if isinstance(policies, Mapping) else None
    kinds = [_kind(item) for item in items] if isinstance(items, (list, tuple)) else []
    if kind not in kinds:
        return fault
    place = ("augmentation_policies", policy, kinds.index(kind), kind, key)
    return Fault(path=(*place, *fault.path[2:]), problem=fault.problem)


def _kind(item: object) -> object:
    return next(iter(item), None) if isinstance(item, Mapping) else item


def _inner_domains(policies: Policies, augmentation: Domain | None) -> Iterator[tuple[str, Domain]]:
    if not isinstance(augmentation, Choice):
        return
    for policy, steps in policies.items():
        if not augmentation.contains(policy):
            continue
        condition: Condition = {} if is_fixed(augmentation) else {"augmentation": (policy,)}
        for step in steps:
            for key, domain in step.domains.items():
                if not is_fixed(domain):
                    when = {**condition, **domain.when}
                    yield parameter_name(policy, step.kind, key), replace(domain, when=when)


def _step(policy: str, declared: StepDeclaration, params: Mapping[str, Scalar]) -> Step:
    given = {
        key: float(params.get(parameter_name(policy, declared.kind, key), domain.default_value))
        for key, domain in declared.domains.items()
    }
    settings = TRANSFORMS[declared.kind].values(given)
    return Step(kind=declared.kind, p=given.get("p", DEFAULT_P), settings=tuple(settings.items()))
