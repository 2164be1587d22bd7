"""Values of options that typer cannot check: told like every other bad input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from automl.errors import UsageError
from automl.space.limits import nearest

Word = TypeVar("Word", bound=str)


def one_of(option: str, given: str, allowed: Sequence[Word]) -> Word:
    """The allowed word that was given; raises UsageError with the nearest one."""
    for word in allowed:
        if word == given:
            return word
    close = nearest(given, allowed)
    hint = "" if close is None else f"; did you mean {close}?"
    raise UsageError(f"{option}: given {given}; allowed: {', '.join(allowed)}{hint}")


def numbers(option: str, given: str) -> tuple[float, ...]:
    """Numbers with commas between them; raises UsageError."""
    try:
        return tuple(float(word) for word in given.split(","))
    except ValueError:
        raise UsageError(
            f"{option}: given {given}; allowed: numbers with commas between them, such as 0.25,0.5"
        ) from None
