"""Search spaces as they are written in YAML and JSON, and back.

A parameter is a plain value (fixed), or one of `{choice: [a, b]}`, `{int: [low, high], step: 8}`
and `{float: [low, high], log: true}`, each with an optional `default` and `when`.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Any

from automl.errors import SpaceError
from automl.records import Scalar
from automl.space.domains import Choice, Condition, Domain, FloatRange, IntRange
from automl.space.faults import Fault, FaultsError, unknown_key, wrong_value
from automl.space.limits import Limits, is_number
from automl.space.parameter_table import PARAMETERS
from automl.space.parameters import is_policy_parameter
from automl.space.search_space import SearchSpace, space_faults

#: The keys that may stand beside each kind of domain.
FORM_KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "choice": ("choice", "default", "when"),
        "int": ("int", "step", "log", "default", "when"),
        "float": ("float", "log", "default", "when"),
    }
)
_HOW_TO = "a value, {choice: [a, b]}, {int: [low, high]} or {float: [low, high]}"


def parse_space(raw: object) -> SearchSpace:
    """Build the space of an image trial from its written form.

    Raises FaultsError with every fault.
    """
    return SearchSpace(domains=parse_domains(raw, PARAMETERS))


def parse_free_space(raw: object) -> SearchSpace:
    """Build a space whose parameters may have any names; raises as `parse_space` does."""
    forms = raw if isinstance(raw, Mapping) else {}
    vocabulary = {str(name): _free_limits(form) for name, form in forms.items()}
    return SearchSpace(domains=parse_domains(raw, vocabulary), vocabulary=vocabulary)


def _free_limits(form: object) -> Limits:
    """No limits but those of the domain itself."""
    if isinstance(form, Mapping) and "int" in form:
        return Limits(kind="int", description="")
    if isinstance(form, Mapping) and "float" in form:
        return Limits(kind="float", description="")
    return Limits(kind="any", description="")


def parse_domains(raw: object, vocabulary: Mapping[str, Limits]) -> dict[str, Domain]:
    """Build the domain of each parameter; raises FaultsError with every fault."""
    if not isinstance(raw, Mapping) or not raw:
        raise FaultsError([wrong_value((), raw, "a mapping from parameters to their values")])
    domains: dict[str, Domain] = {}
    faults: list[Fault] = []
    for name, form in raw.items():
        if name not in vocabulary:
            faults.append(unknown_key((str(name),), tuple(vocabulary)))
            continue
        try:
            domains[name] = parse_domain(vocabulary[name], form)
        except FaultsError as error:
            faults += [fault.under(str(name)) for fault in error.faults]
    lost = raw.keys() - domains.keys()
    found = space_faults(domains, vocabulary)
    faults += [fault for fault in found if not _follows_from(fault, lost)]
    if faults:
        raise FaultsError(faults)
    return domains


def _follows_from(fault: Fault, lost: AbstractSet[object]) -> bool:
    """Whether a fault only says that a condition's parent is missing, which has its own fault."""
    return len(fault.path) > 2 and fault.path[1] == "when" and fault.path[2] in lost


def space_form(space: SearchSpace) -> dict[str, object]:
    """The written form of a space, made of plain JSON values.

    What its policies search is written with them.
    """
    return {
        name: domain_form(domain)
        for name, domain in space.domains.items()
        if not is_policy_parameter(name)
    }


def parse_domain(limits: Limits, form: object) -> Domain:
    """Build a domain from its written form; raises FaultsError with every fault."""
    if _is_scalar(form):
        return Choice(options=(_canonical(limits, form),))
    if not isinstance(form, Mapping):
        raise FaultsError([wrong_value((), form, _HOW_TO)])
    kinds = [kind for kind in FORM_KEYS if kind in form]
    if len(kinds) != 1:
        raise FaultsError(_kind_faults(form))
    faults = _form_faults(kinds[0], form)
    if faults:
        raise FaultsError(faults)
    try:
        return _build(kinds[0], limits, form)
    except SpaceError as error:
        raise FaultsError([Fault(path=(), problem=str(error))]) from None


def _kind_faults(form: Mapping[str, object]) -> list[Fault]:
    known = sorted({key for keys in FORM_KEYS.values() for key in keys})
    unknown = [unknown_key((key,), known) for key in form if key not in known]
    return unknown if unknown else [wrong_value((), form, f"exactly one of: {_HOW_TO}")]


def _form_faults(kind: str, form: Mapping[str, object]) -> list[Fault]:
    """What is wrong with the shape of a domain; its content is for the domain to check."""
    faults = []
    for key, value in form.items():
        if key not in FORM_KEYS[kind]:
            faults.append(unknown_key((key,), FORM_KEYS[kind]))
        elif key == "when":
            faults += [fault.under("when") for fault in _when_faults(value)]
        elif not _has_shape(kind, key, value):
            faults.append(wrong_value((key,), value, _shape_text(kind, key)))
    return faults


def _has_shape(kind: str, key: str, value: object) -> bool:
    if key == "choice":
        return _is_scalars(value)
    if key == "log":
        return isinstance(value, bool)
    if key == "default" and kind == "choice":
        return _is_scalar(value)
    is_right = _is_whole if kind == "int" else is_number
    if key == kind:
        return isinstance(value, list) and len(value) == 2 and all(map(is_right, value))
    return is_right(value)


def _shape_text(kind: str, key: str) -> str:
    if key == "choice":
        return "a list of values, such as [a, b]"
    if key == "log":
        return "true or false"
    if kind == "choice":
        return "one of the options"
    noun = "whole number" if kind == "int" else "number"
    return f"two {noun}s, [low, high]" if key == kind else f"a {noun}"


def _when_faults(raw: object) -> list[Fault]:
    if not isinstance(raw, Mapping) or not raw:
        return [wrong_value((), raw, "a mapping such as {decoder: [fpn, fpn_lite]}")]
    return [
        wrong_value((str(parent),), values, "a value, or a list of values")
        for parent, values in raw.items()
        if not _is_scalar(values) and not _is_scalars(values)
    ]


def _build(kind: str, limits: Limits, form: Mapping[str, Any]) -> Domain:
    """The domain of a form whose shape is right."""
    when = _parse_when(form.get("when", {}))
    given = form.get("default")
    default = None if given is None else _canonical(limits, given)
    if kind == "choice":
        options = tuple(_canonical(limits, option) for option in form["choice"])
        return Choice(options=options, default=default, when=when)
    log = form.get("log", False)
    low, high = form[kind]
    if kind == "float":
        number = None if given is None else float(given)
        return FloatRange(low=float(low), high=float(high), log=log, default=number, when=when)
    return IntRange(low=low, high=high, step=form.get("step", 1), log=log, default=given, when=when)


def _parse_when(raw: Mapping[str, Any]) -> Condition:
    return {
        parent: (values,) if _is_scalar(values) else tuple(values) for parent, values in raw.items()
    }


def domain_form(domain: Domain) -> object:
    """The written form of a domain, made of plain JSON values."""
    if isinstance(domain, Choice):
        if domain.size == 1 and not domain.when:
            return domain.options[0]
        form: dict[str, object] = {"choice": list(domain.options)}
    else:
        kind = "int" if isinstance(domain, IntRange) else "float"
        form = {kind: [domain.low, domain.high]}
        if isinstance(domain, IntRange) and domain.step != 1:
            form["step"] = domain.step
        if domain.log:
            form["log"] = True
    if domain.default is not None:
        form["default"] = domain.default
    if domain.when:
        form["when"] = {parent: list(values) for parent, values in domain.when.items()}
    return form


def _canonical(limits: Limits, value: Any) -> Scalar:
    """The value in its parameter's type where it is allowed; as it is, to be reported, if not."""
    canonical: Scalar = limits.canonical(value) if limits.accept(value) else value
    return canonical


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_scalar(value: object) -> bool:
    return isinstance(value, (bool, int, float, str))


def _is_scalars(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_scalar, value))
