"""What a command says when the user stops it, and the exit code that it then has."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

#: The exit code of a command that the user interrupts.
INTERRUPTED = 130


@contextmanager
def stoppable(told: str, *, kept: Path | str | None = None) -> Iterator[None]:
    """Turn Ctrl-C into `told` and exit code 130.

    With `kept`, a study's folder or URL, it is said first what is there, and last how to begin
    anew.
    """
    try:
        yield
    except KeyboardInterrupt:
        lines = f"Stopped{told}"
        if kept is not None:
            lines = f"Stopped. {_what_is_kept(kept)}{told}\nTo start anew, add --overwrite."
        typer.echo(f"\n{lines}", err=True)
        raise typer.Exit(INTERRUPTED) from None


def to_continue() -> str:
    """How to go on: the command itself, to be pasted."""
    words = [word for word in sys.argv[1:] if word != "--overwrite"]
    return f" To continue: {shlex.join(['automl', *words])}"


def _what_is_kept(place: Path | str) -> str:
    is_there = "://" in str(place) or Path(place).exists()
    return f"Everything finished is in {place}." if is_there else "Nothing was begun."
