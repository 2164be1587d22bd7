"""One fault of an experiment file: where it is and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from automl.errors import SpaceError
from automl.space.limits import nearest

#: Keys and list positions that lead to a value, such as ("space", "decoder", "choice", 1).
KeyPath = tuple[str | int, ...]

_LONGEST_VALUE = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something to repair at `path`; `problem` says what was given and what is allowed."""

    path: KeyPath
    problem: str

    def under(self, *above: str | int) -> Fault:
        """The same fault, seen from further up."""
        return Fault(path=(*above, *self.path), problem=self.problem)

    def __str__(self) -> str:
        return f"{key_text(self.path)}: {self.problem}" if self.path else self.problem


def key_text(path: KeyPath) -> str:
    """A key path as text: `compress.students[0].pruning_ratio`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def value_text(value: object) -> str:
    """A value as one would write it in the file, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def wrong_value(path: KeyPath, given: object, allowed: str, known: Iterable[str] = ()) -> Fault:
    """A value that is not allowed; `known` are spellings that may have been meant."""
    hint = _hint(given, known) if isinstance(given, str) else ""
    return Fault(path=path, problem=f"given {value_text(given)}; allowed: {allowed}{hint}")


def unknown_key(path: KeyPath, known: Sequence[str]) -> Fault:
    """A key that does not exist; the last part of `path` is that key."""
    problem = f"unknown key; allowed: {', '.join(known)}{_hint(path[-1], known)}"
    return Fault(path=path, problem=problem)


def _hint(given: object, known: Iterable[str]) -> str:
    meant = nearest(given, known)
    return f"; did you mean {meant}?" if meant is not None else ""


class FaultsError(SpaceError):
    """Several faults at once; `faults` keeps them apart so that a caller can add line numbers."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, faults)))
