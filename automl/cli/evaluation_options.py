"""Options of the commands that score bundles, read and checked before any work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from automl.cli.words import one_of
from automl.errors import UsageError
from automl.records import SPLITS, Split

if TYPE_CHECKING:
    from automl.evaluation.scoring import Progress
    from automl.measurement.boundary import Tolerance


def split(text: str) -> Split:
    """A split by its name."""
    return one_of("--split", text, SPLITS)


def metrics(text: str) -> tuple[str, ...]:
    """Metrics between commas, in the order of the table."""
    from automl.evaluation.summary import METRICS

    words = [one_of("--metrics", word.strip(), METRICS) for word in text.split(",")]
    return tuple(name for name in METRICS if name in words)


def tolerance(text: str) -> Tolerance:
    """Pixels such as 2, or a share of the diagonal such as 0.75%."""
    from automl.measurement.boundary import Tolerance

    number, unit, factor = text.strip(), "pixels", 1.0
    if number.endswith("%"):
        number, unit, factor = number[:-1], "diagonal", 0.01
    try:
        return Tolerance(float(number) * factor, unit)
    except ValueError:
        raise UsageError(
            f"--tolerance: given {text!r}; allowed: pixels such as 2, or a share of the image's "
            "diagonal such as 0.75%"
        ) from None


def check_out(out: Path | None, *bundles: Path) -> None:
    """Refuse an --out that cannot be a folder of results, or that would damage a bundle.

    Without matplotlib, as on a device, there are no pictures to put there.
    """
    if out is None:
        return
    if find_spec("matplotlib") is None:
        raise UsageError("--out: its pictures need matplotlib: pip install matplotlib")
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out: {out} is a file; allowed: a folder, there or not")
    for bundle in bundles:
        if out.resolve().is_relative_to(bundle.resolve()):
            raise UsageError(f"--out: {out} lies in the bundle {bundle}, which would be damaged")


@contextmanager
def counting(what: str) -> Iterator[Progress]:
    """Show on a terminal how many of how many are done."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console

    with Console(stderr=True).status(what) as status:
        yield lambda done, total: status.update(f"{what}: {done} of {total}")
