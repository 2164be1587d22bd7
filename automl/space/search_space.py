"""A search space: a domain for each searched parameter, and the conditions between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from automl.records import Scalar
from automl.space.domains import Choice, Domain, IntRange
from automl.space.faults import Fault, FaultsError, unknown_key, value_text, wrong_value
from automl.space.limits import Limits
from automl.space.needs import need_faults
from automl.space.parameter_table import PARAMETERS


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """Named domains; raises FaultsError (a SpaceError) that lists all that is wrong with them.

    A parameter with a condition is *active* where its parents have one of the values named.
    Sets of values produced here hold the active parameters only. `vocabulary` says which names
    there may be, and what each may hold; None: those of an image trial, `PARAMETERS`.
    """

    domains: Mapping[str, Domain]
    vocabulary: Mapping[str, Limits] | None = field(default=None, repr=False, compare=False)
    _order: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        faults = space_faults(self.domains, self._limits)
        if faults:
            raise FaultsError(faults)
        object.__setattr__(self, "_order", tuple(_sorter(self.domains).static_order()))

    def assign(self, choose: Callable[[str, Domain], Scalar]) -> dict[str, Scalar]:
        """Choose a value for each active parameter, parents before their children.

        The result is in the order of declaration, whatever the conditions, and each value in its
        parameter's type, whatever the domain.
        """
        chosen: dict[str, Scalar] = {}
        for name in self._order:
            if self.is_active(name, chosen):
                value, limits = choose(name, self.domains[name]), self._limits[name]
                chosen[name] = limits.canonical(value) if limits.accept(value) else value
        return {name: chosen[name] for name in self.domains if name in chosen}

    def default(self) -> dict[str, Scalar]:
        """The configuration of trial 0."""
        return self.assign(lambda _, domain: domain.default_value)

    def complete(self, point: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """A point as given, with the default of each active parameter that it leaves out."""
        return self.assign(lambda name, domain: point.get(name, domain.default_value))

    def restrict(self, params: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """What of a trial's values this space describes: the active ones within their domains."""
        return {
            name: params[name]
            for name, domain in self.domains.items()
            if name in params and self.is_active(name, params) and domain.contains(params[name])
        }

    def is_active(self, name: str, params: Mapping[str, Scalar]) -> bool:
        """Whether the conditions of `name` hold, those of its parents included."""
        return all(
            parent in params
            and Choice(options=allowed).contains(params[parent])
            and self.is_active(parent, params)
            for parent, allowed in self.domains[name].when.items()
        )

    def is_unconditional(self, name: str) -> bool:
        """Whether every configuration has a value of `name`."""
        return name in self.domains and not self.domains[name].when

    @property
    def searched(self) -> tuple[str, ...]:
        """The parameters that have more than one value."""
        return tuple(name for name, domain in self.domains.items() if domain.size != 1)

    @property
    def is_conditional(self) -> bool:
        """Whether a searched parameter has a condition."""
        return any(self.domains[name].when for name in self.searched)

    @property
    def size(self) -> int | None:
        """How many different configurations there are; None where one may be continuous."""
        return self._count(self._order, {})

    @property
    def _limits(self) -> Mapping[str, Limits]:
        return PARAMETERS if self.vocabulary is None else self.vocabulary

    def _count(self, names: tuple[str, ...], parents: dict[str, Scalar]) -> int | None:
        if not names:
            return 1
        name, rest = names[0], names[1:]
        domain = self.domains[name]
        if not self.is_active(name, parents):
            return self._count(rest, parents)
        if isinstance(domain, Choice) and name in self._parents():
            counts = [self._count(rest, {**parents, name: value}) for value in domain.options]
            known = [count for count in counts if count is not None]
            return sum(known) if len(known) == len(counts) else None
        below = self._count(rest, parents)
        return None if domain.size is None or below is None else domain.size * below

    def _parents(self) -> set[str]:
        return {parent for domain in self.domains.values() for parent in domain.when}

    def describe(self) -> str:
        """The size in words: `48 configurations`, or `3 continuous and 5 discrete parameters`.

        Fixed parameters are no dimensions.
        """
        if self.size is not None:
            return f"{self.size} configuration{'' if self.size == 1 else 's'}"
        continuous = sum(domain.size is None for domain in self.domains.values())
        discrete = sum(domain.size not in (None, 1) for domain in self.domains.values())
        return f"{continuous} continuous and {discrete} discrete parameters"


def space_faults(
    domains: Mapping[str, Domain], vocabulary: Mapping[str, Limits] = PARAMETERS
) -> list[Fault]:
    """All that is wrong with a set of domains, apart from what each domain checks by itself."""
    faults = []
    for name, domain in domains.items():
        if name not in vocabulary:
            faults.append(unknown_key((name,), tuple(vocabulary)))
            continue
        faults += [fault.under(name) for fault in _limit_faults(vocabulary[name], domain)]
        faults += [fault.under(name, "when") for fault in _condition_faults(name, domains)]
    if vocabulary is PARAMETERS:
        faults += need_faults(domains)
    try:
        _sorter(domains).prepare()
    except CycleError as error:
        loop = " -> ".join(error.args[1])
        faults.append(
            Fault(path=(error.args[1][0], "when"), problem=f"conditions in a ring: {loop}")
        )
    return faults


def point_faults(space: SearchSpace, point: Mapping[str, Scalar]) -> list[Fault]:
    """What keeps `point` from being a configuration of `space`."""
    faults = []
    full = space.complete(point)
    for name, value in point.items():
        if name not in space.domains:
            faults.append(unknown_key((name,), tuple(space.domains)))
        elif not space.domains[name].contains(value):
            domain = space.domains[name]
            known = [str(v) for v in domain.options] if isinstance(domain, Choice) else []
            faults.append(wrong_value((name,), value, domain_text(domain), known))
        elif name not in full:
            problem = f"given {value_text(value)}, but its condition does not hold here"
            faults.append(Fault(path=(name,), problem=problem))
    return faults


def domain_text(domain: Domain) -> str:
    """A domain in words, for error messages."""
    if isinstance(domain, Choice):
        return "one of " + ", ".join(str(option) for option in domain.options)
    kind = "whole numbers" if isinstance(domain, IntRange) else "numbers"
    step = f" in steps of {domain.step}" if isinstance(domain, IntRange) else ""
    return f"{kind} from {domain.low:g} to {domain.high:g}{step}"


def _sorter(domains: Mapping[str, Domain]) -> TopologicalSorter[str]:
    known = {name: [p for p in domain.when if p in domains] for name, domain in domains.items()}
    return TopologicalSorter(known)


def _limit_faults(limits: Limits, domain: Domain) -> Iterator[Fault]:
    if isinstance(domain, Choice):
        for index, option in enumerate(domain.options):
            if not limits.accept(option):
                path = ("choice", index) if len(domain.options) > 1 else ()
                yield wrong_value(path, option, limits.allowed, limits.words)
        return
    kind = "int" if isinstance(domain, IntRange) else "float"
    if kind not in limits.ranges:
        allowed = " or ".join([*limits.ranges, "choice"])
        yield Fault(path=(kind,), problem=f"this parameter takes {allowed}; it is {limits.allowed}")
        return
    for index, bound in enumerate((domain.low, domain.high)):
        if not limits.accept(bound):
            yield wrong_value((kind, index), bound, limits.allowed)
    if isinstance(domain, IntRange) and domain.step % limits.multiple:
        yield wrong_value(("step",), domain.step, f"a multiple of {limits.multiple}")


def _condition_faults(name: str, domains: Mapping[str, Domain]) -> Iterator[Fault]:
    for parent, allowed in domains[name].when.items():
        if parent not in domains:
            yield unknown_key((parent,), [other for other in domains if other != name])
            continue
        domain = domains[parent]
        if not isinstance(domain, Choice):
            yield Fault(path=(parent,), problem="a condition needs a parent that is a choice")
            continue
        for index, value in enumerate(allowed):
            if not domain.contains(value):
                known = [str(option) for option in domain.options]
                yield wrong_value((parent, index), value, domain_text(domain), known)
