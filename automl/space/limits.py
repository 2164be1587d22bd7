"""What a parameter may be, and the words for it in error messages."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from automl.records import Scalar

Kind = Literal["any", "text", "flag_or_text", "int", "float"]

#: What a number that may be left out altogether is then.
NONE = "none"

#: Words that YAML 1.1 reads as a truth value and YAML 1.2 as text: never a weights file.
_YAML_1_1_FLAGS = frozenset({"yes", "no", "on", "off", "y", "n"})


def nearest(given: object, known: Iterable[str]) -> str | None:
    """The known spelling closest to `given`, or None where none is close."""
    names = {name.lower(): name for name in known}
    found = difflib.get_close_matches(str(given).lower(), names, n=1, cutoff=0.6)
    return names[found[0]] if found else None


def is_number(value: object) -> bool:
    """Whether a value is a finite number; Python's `True` is an int, but no number here."""
    is_numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_numeric and math.isfinite(float(str(value)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one parameter may be. Bounds are inclusive unless the name says otherwise.

    One that is `open` may also have a name beside its options, which the experiment declares. A
    number that is `optional` may also be `NONE`; one that is a float and `whole_ranges` may also be
    searched over whole numbers.
    """

    kind: Kind
    description: str
    options: tuple[str, ...] = ()
    low: float | None = None
    above: float | None = None
    high: float | None = None
    multiple: int = 1
    open: bool = False
    optional: bool = False
    whole_ranges: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """The texts that it may be, as far as they are known beforehand."""
        return (*self.options, NONE) if self.optional else self.options

    @property
    def ranges(self) -> tuple[str, ...]:
        """The kinds of ranges over which it may be searched."""
        if self.kind not in ("int", "float"):
            return ()
        return ("int", "float") if self.whole_ranges else (self.kind,)

    @property
    def allowed(self) -> str:
        """The limits in words, for error messages."""
        if self.options:
            declared = ", or a policy of augmentation_policies" if self.open else ""
            return "one of " + ", ".join(self.options) + declared
        if self.kind == "any":
            return "a value"
        if self.kind == "text":
            return "a name, as text"
        if self.kind == "flag_or_text":
            return "true, false, or the path of a weights file"
        noun = "a number" if self.kind == "float" else "a whole number"
        if self.multiple > 1:
            noun = f"a multiple of {self.multiple}"
        return " ".join([noun, *self._bounds()]) + (f", or {NONE}" if self.optional else "")

    def _bounds(self) -> list[str]:
        bounds = []
        if self.above is not None:
            bounds.append(f"> {self.above:g}")
        if self.low is not None:
            bounds.append(f">= {self.low:g}")
        if self.high is not None:
            bounds.append(f"<= {self.high:g}")
        return [" and ".join(bounds)] if bounds else []

    def accept(self, value: object) -> bool:
        """Whether this parameter may have this value."""
        if self.options:
            return value in self.options or (self.open and _is_word(value))
        if self.kind == "any" or (self.optional and value == NONE):
            return True
        if self.kind == "text":
            return _is_word(value)
        if self.kind == "flag_or_text":
            is_path = _is_word(value) and str(value).lower() not in _YAML_1_1_FLAGS
            return isinstance(value, bool) or is_path
        return is_number(value) and self._in_bounds(float(str(value)))

    def _in_bounds(self, value: float) -> bool:
        if self.kind == "int" and (value != int(value) or int(value) % self.multiple):
            return False
        return (
            (self.low is None or value >= self.low)
            and (self.above is None or value > self.above)
            and (self.high is None or value <= self.high)
        )

    def canonical(self, value: Scalar) -> Scalar:
        """An accepted value in the one type that this parameter has: 1 becomes 1.0 for a float."""
        if self.optional and value == NONE:
            return value
        if self.kind == "float":
            return float(value)
        if self.kind == "int":
            return int(value)
        return value


def _is_word(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
