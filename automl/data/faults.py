"""Faults of a dataset: collected, then told together, each with its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from automl.errors import DataError

#: More faults than this are counted, not shown.
SHOWN_FAULTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong with a file or a folder."""

    path: Path
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


def fault_from(path: Path, error: DataError) -> Fault:
    """The fault that an error about one file tells, the path said once."""
    return Fault(path=path, problem=str(error).removeprefix(f"{path}: "))


def describe(faults: Sequence[Fault]) -> str:
    """One line a fault, the first `SHOWN_FAULTS` of them."""
    lines = [f"  {fault}" for fault in faults[:SHOWN_FAULTS]]
    hidden = len(faults) - len(lines)
    if hidden:
        lines.append(f"  … and {hidden} more")
    return "\n".join(lines)


def refuse(root: Path, faults: Sequence[Fault]) -> None:
    """Raise DataError with all faults; do nothing where there is none."""
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise DataError(f"{root}: {count} in the dataset:\n{describe(faults)}")
