"""Options of the commands that predict by views and windows; importing them costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from automl.errors import UsageError
from automl.resize import VIEW_SCALES

if TYPE_CHECKING:
    from automl.bundle.inference import InferencePlan

_SIDES = (8, 65536)

TtaScales = Annotated[
    str | None, typer.Option(help="Average over views at these scales: 0.75,1,1.25.")
]
TtaFlip = Annotated[bool, typer.Option("--tta-flip", help="Average over mirrored views, too.")]
Window = Annotated[str | None, typer.Option(help="Height x width in pixels of the image: 512x512.")]
Overlap = Annotated[
    float, typer.Option(min=0, max=0.9, help="Least share of a window that others share.")
]


def plan(*, window: str | None, overlap: float, scales: str | None, flip: bool) -> InferencePlan:
    """How masks are made."""
    from automl.bundle.inference import InferencePlan

    numbers = (1.0,) if scales is None else _scales(scales)
    sides = None if window is None else _window(window)
    return InferencePlan(window=sides, overlap=overlap, scales=numbers, flip=flip)


def _scales(text: str) -> tuple[float, ...]:
    low, high = VIEW_SCALES
    try:
        numbers = tuple(float(word) for word in text.split(","))
    except ValueError:
        numbers = ()
    fits = all(low <= number <= high for number in numbers)
    if not numbers or not fits or len(set(numbers)) < len(numbers):
        raise UsageError(
            f"--tta-scales: given {text!r}; allowed: different numbers from {low:g} to {high:g} "
            "between commas, such as 0.75,1,1.25"
        )
    return numbers


def _window(text: str) -> tuple[int, int]:
    low, high = _SIDES
    words = text.lower().split("x")
    if len(words) != 2 or not all(
        word.isascii() and word.isdigit() and low <= int(word) <= high for word in words
    ):
        raise UsageError(
            f"--window: given {text!r}; allowed: height x width, {low} to {high} pixels each, such "
            "as 512x512"
        )
    return int(words[0]), int(words[1])
