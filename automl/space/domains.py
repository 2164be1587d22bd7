"""The values that a searched parameter may take. Bounds are inclusive on both sides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from automl.errors import SpaceError
from automl.records import Scalar
from automl.space.limits import is_number

#: The parent's name, and the parent's values for which a parameter exists.
Condition = Mapping[str, tuple[Scalar, ...]]


def same(left: Scalar, right: Scalar) -> bool:
    """Equality that, unlike Python's, tells True from 1."""
    return isinstance(left, bool) == isinstance(right, bool) and left == right


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of a few options; a fixed value is a choice of one. The default is the first option."""

    options: tuple[Scalar, ...]
    default: Scalar | None = None
    when: Condition = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.options:
            raise SpaceError("a choice needs at least one option, given []")
        for index, option in enumerate(self.options):
            if any(same(option, other) for other in self.options[:index]):
                raise SpaceError(f"the options of a choice must differ, given {option!r} twice")
        _check_default(self)

    @property
    def default_value(self) -> Scalar:
        """The value that trial 0 takes."""
        return self.options[0] if self.default is None else self.default

    @property
    def size(self) -> int | None:
        """How many values there are."""
        return len(self.options)

    def contains(self, value: Scalar) -> bool:
        """Whether `value` is one of the options."""
        return any(same(value, option) for option in self.options)

    def at(self, unit: float) -> Scalar:
        """The option at a position in [0, 1)."""
        return self.options[_slot(unit, len(self.options))]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntRange:
    """Whole numbers from `low` to `high` in steps; the default is the one nearest the middle."""

    low: int
    high: int
    step: int = 1
    log: bool = False
    default: int | None = None
    when: Condition = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, log=self.log)
        if self.step < 1:
            raise SpaceError(f"step >= 1 must hold, given {self.step}")
        if (self.high - self.low) % self.step:
            last = self.high - (self.high - self.low) % self.step
            raise SpaceError(
                f"high - low must be a multiple of step, given [{self.low}, {self.high}] "
                f"with step {self.step}; nearest allowed: [{self.low}, {last}]"
            )
        if self.log and self.step != 1:
            raise SpaceError(f"log needs step 1, given step {self.step}; list the values as choice")
        _check_default(self)

    @property
    def default_value(self) -> Scalar:
        """The value that trial 0 takes."""
        return self.at(0.5) if self.default is None else self.default

    @property
    def size(self) -> int | None:
        """How many values there are."""
        return (self.high - self.low) // self.step + 1

    def contains(self, value: Scalar) -> bool:
        """Whether `value` is on the grid."""
        if not is_number(value):
            return False
        number = float(value)
        return self.low <= number <= self.high and (number - self.low) % self.step == 0

    def at(self, unit: float) -> Scalar:
        """The value at a position in [0, 1)."""
        if self.log:
            # Half a step more on both sides gives the end points their fair share.
            exact = _log_between(self.low - 0.5, self.high + 0.5, unit)
            return min(self.high, max(self.low, round(exact)))
        return self.low + self.step * _slot(unit, (self.high - self.low) // self.step + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatRange:
    """Numbers from `low` to `high`; the default is the middle (the geometric one for `log`)."""

    low: float
    high: float
    log: bool = False
    default: float | None = None
    when: Condition = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, log=self.log)
        _check_default(self)

    @property
    def default_value(self) -> Scalar:
        """The value that trial 0 takes."""
        return self.at(0.5) if self.default is None else self.default

    @property
    def size(self) -> int | None:
        """None: a continuum."""
        return None

    def contains(self, value: Scalar) -> bool:
        """Whether `value` is within the bounds."""
        return is_number(value) and self.low <= float(value) <= self.high

    def at(self, unit: float) -> Scalar:
        """The value at a position in [0, 1)."""
        if self.log:
            exact = _log_between(self.low, self.high, unit)
        else:
            exact = self.low + unit * (self.high - self.low)
        return min(self.high, max(self.low, exact))


Domain = Choice | IntRange | FloatRange


def _check_bounds(low: float, high: float, *, log: bool) -> None:
    if not low < high:
        raise SpaceError(f"low < high must hold, given [{low}, {high}]")
    if log and low <= 0:
        raise SpaceError(f"log needs low > 0, given [{low}, {high}]")


def _check_default(domain: Choice | IntRange | FloatRange) -> None:
    if domain.default is not None and not domain.contains(domain.default):
        raise SpaceError(f"the default must be in the domain, given {domain.default!r}")


def _slot(unit: float, count: int) -> int:
    return min(count - 1, int(unit * count))


def _log_between(low: float, high: float, unit: float) -> float:
    return math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
