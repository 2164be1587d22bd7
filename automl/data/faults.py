"""Faults of a dataset: collected, then told together, each with its file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from automl.errors import DataError

#: Where a dataset is refused, more faults than this are counted, not shown.
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
    """How many faults there are, then one line each."""
    return "\n".join([f"{_count(faults)}:", *_lines(faults)])


def refuse(root: Path, faults: Sequence[Fault]) -> None:
    """Raise DataError with the faults, the first `SHOWN_FAULTS` of many; nothing without any."""
    if not faults:
        return
    lines = _lines(faults[:SHOWN_FAULTS])
    hidden = len(faults) - SHOWN_FAULTS
    if hidden > 0:
        command = shlex.join(["automl", "data", "check", str(root)])
        lines.append(f"  … and {hidden} more: {command} lists all")
    raise DataError("\n".join([f"{root}: {_count(faults)} in the dataset:", *lines]))


def _count(faults: Sequence[Fault]) -> str:
    return "1 fault" if len(faults) == 1 else f"{len(faults)} faults"


def _lines(faults: Sequence[Fault]) -> list[str]:
    return [f"  {fault}" for fault in faults]
