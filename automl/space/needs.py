"""Parameters that mean nothing without another one: told before any trial runs into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from automl.records import Scalar
from automl.space.domains import Choice, Domain
from automl.space.faults import Fault

#: What is above 0 only where the other one is, too.
_NEEDS: Mapping[str, str] = MappingProxyType({"ema_distillation": "ema_decay"})


def need_faults(domains: Mapping[str, Domain]) -> Iterator[Fault]:
    """The parameters that may be above 0 where what they need is 0 or not there."""
    for name, needed in _NEEDS.items():
        domain = domains.get(name)
        if domain is None or not any(_is_positive(bound) for bound in _bounds(domain)):
            continue
        if not _always_there(domain, needed, domains.get(needed)):
            hint = f"when: {{{needed}: [0.99]}}"
            problem = (
                f"needs {needed} above 0 wherever it is above 0 itself: leave 0 out of {needed}, "
                f"or add a condition such as {hint}"
            )
            yield Fault(path=(name,), problem=problem)


def _always_there(domain: Domain, needed: str, other: Domain | None) -> bool:
    """Whether `needed` is above 0 in every configuration in which `domain` has a value."""
    if other is None:
        return False
    if needed in domain.when:
        return all(_is_positive(value) for value in domain.when[needed])
    same_condition = all(
        parent in domain.when and set(domain.when[parent]) <= set(allowed)
        for parent, allowed in other.when.items()
    )
    return same_condition and all(_is_positive(bound) for bound in _bounds(other))


def _bounds(domain: Domain) -> tuple[Scalar, ...]:
    return domain.options if isinstance(domain, Choice) else (domain.low, domain.high)


def _is_positive(value: Scalar) -> bool:
    return isinstance(value, (int, float)) and value > 0
