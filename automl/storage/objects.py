"""What an object store can do, in five methods; and one in memory.

Object stores have no append and no lock: an object appears whole under its key, or replaces the one
that was there. Reads and lists see every write that has ended before, as those of S3 and Google do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from automl.errors import StudyError


class UnreachableError(StudyError):
    """The store failed again and again, or what it holds is damaged: the work stops here."""


class TransientError(Exception):
    """A request failed as another attempt may not: a timeout, a 5xx, a cut connection."""


class RefusedError(Exception):
    """A request was refused: no such bucket, no permission, wrong credentials."""


class NoObjectError(Exception):
    """There is no object of this key."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An object in a list: `changed_s` is when it was written, by the store's own clock."""

    key: str
    size: int
    changed_s: float


@dataclass(frozen=True, slots=True)
class State:
    """What the store says of an object; `md5` where it says one of the content."""

    size: int
    md5: str | None


class Objects(Protocol):
    """The objects below one prefix; keys are relative to it, with slashes.

    Methods raise TransientError and RefusedError.
    """

    def write(self, key: str, chunks: Iterable[bytes]) -> None:
        """Make or replace an object; it is whole, or as it was before."""

    def read(self, key: str) -> Iterator[bytes]:
        """The content in pieces; raises NoObjectError."""

    def state(self, key: str) -> State:
        """Size and, where it is known, checksum; raises NoObjectError."""

    def entries(self, prefix: str) -> list[Entry]:
        """The objects whose keys begin with the folder `prefix`, or all for an empty one."""

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""


@dataclass(slots=True)
class MemoryObjects:
    """Objects in a dictionary; the twin of a store for tests. `clock` gives its time in seconds."""

    clock: Callable[[], float]
    contents: dict[str, tuple[bytes, float]] = field(default_factory=dict)

    def write(self, key: str, chunks: Iterable[bytes]) -> None:
        """Make or replace an object."""
        self.contents[key] = (b"".join(chunks), self.clock())

    def read(self, key: str) -> Iterator[bytes]:
        """The content in one piece."""
        yield self._found(key)

    def state(self, key: str) -> State:
        """Size and MD5."""
        content = self._found(key)
        return State(len(content), hashlib.md5(content, usedforsecurity=False).hexdigest())

    def entries(self, prefix: str) -> list[Entry]:
        """What lies below a folder, in the order of keys."""
        below = f"{prefix}/" if prefix else ""
        return [
            Entry(key, len(content), changed_s)
            for key, (content, changed_s) in sorted(self.contents.items())
            if key.startswith(below)
        ]

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        self.contents.pop(key, None)

    def _found(self, key: str) -> bytes:
        if key not in self.contents:
            raise NoObjectError(key)
        return self.contents[key][0]
