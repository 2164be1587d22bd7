"""`--resize`: how images come to a network's size. Importing it costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from automl.resize import Resize

_HELP = "stretch, or letterbox: the ratio of the sides is kept, the rest padded."

ResizeOption = Annotated[str, typer.Option(help=_HELP)]
MaybeResize = Annotated[str | None, typer.Option(help=_HELP)]


def resize_of(given: str) -> Resize:
    """What an option asks for; raises UsageError."""
    from typing import get_args

    from automl.errors import UsageError
    from automl.resize import Resize, ResizeMode

    known: tuple[ResizeMode, ...] = get_args(ResizeMode)
    for mode in known:
        if given == mode:
            return Resize(mode=mode)
    raise UsageError(f"--resize: given {given!r}; allowed: {', '.join(known)}")
