"""A journal in a store that has no append: the whole of a while ago, and a segment an event.

`journal.jsonl` holds the beginning; `journal/000000012345.jsonl` is what follows from that byte on.
An event is in the store before it takes effect. Now and then, and at the end of each stage, the
whole is written anew and the segments that it covers go, so that a study that has ended holds the
file that a study in a folder has. A store may keep half of what replaces an object, so the whole is
never replaced while all rests on it: `journal/whole.jsonl` holds it meanwhile.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from automl.errors import StudyError
from automl.storage.objects import UnreachableError
from automl.storage.reliable import Reliable
from automl.store.journal import JOURNAL_NAME

_SEGMENTS = "journal"
_SUFFIX = ".jsonl"
_SPARE = f"{_SEGMENTS}/whole{_SUFFIX}"
_READINGS = 5
#: Segments after which the whole is written anew: as many requests make a new start slower.
_MOST_SEGMENTS = 200


class JournalCopy:
    """The journal of one writer in a store; `Journal` tells it of each line."""

    def __init__(self, store: Reliable, file: Path) -> None:
        self._store = store
        self._file = file
        self._segments = 0

    def take(self, start: int, line: bytes) -> None:
        """Put the line that begins at byte `start` into the store, proven."""
        self._store.put_bytes(_segment(start), line)
        self._segments += 1
        if self._segments >= _MOST_SEGMENTS:
            # The line is in the store, so a fold that fails now must not take it back.
            with suppress(UnreachableError):
                self.fold(start + len(line))

    def fold(self, size: int) -> None:
        """Write the whole of `size` bytes anew, and remove the segments that it covers."""
        content = self._file.read_bytes()[:size]
        whole, spare = _lines(self._store, JOURNAL_NAME), _lines(self._store, _SPARE)
        if whole != content:
            if len(whole) >= len(spare):
                self._store.put_bytes(_SPARE, content)
            self._store.put_bytes(JOURNAL_NAME, content)
        for start in _starts(self._store):
            if start < size:
                self._store.delete(_segment(start))
        self._store.delete(_SPARE)
        self._segments = 0


def stored_journal(store: Reliable) -> bytes:
    """The lines of the journal in the store, which its writer may be adding to."""
    for _ in range(_READINGS):
        starts = _starts(store)  # before the whole, which then covers what has gone meanwhile
        content = max(_lines(store, JOURNAL_NAME), _lines(store, _SPARE), key=len)
        for start in (s for s in starts if s >= len(content)):
            line = store.get_bytes(_segment(start))
            if line is None or start != len(content):
                break  # its writer has written the whole anew meanwhile
            content += line
        else:
            return content
    raise UnreachableError(
        f"{store.url}/{_segment(len(content))}: a part of the journal is not there: something else "
        "than this program removed it; restore it, or start anew with --overwrite"
    )


def remove_journal(store: Reliable) -> None:
    """Remove the journal, the end first: what is left is a shorter journal at every moment."""
    for start in reversed(_starts(store)):
        store.delete(_segment(start))
    store.delete(_SPARE)
    store.delete(JOURNAL_NAME)


def _lines(store: Reliable, key: str) -> bytes:
    """The lines that arrived whole; none where there is no such object."""
    content = store.get_bytes(key) or b""
    return content[: content.rfind(b"\n") + 1]


def _segment(start: int) -> str:
    return f"{_SEGMENTS}/{start:012d}{_SUFFIX}"


def _starts(store: Reliable) -> list[int]:
    """Where the segments in the store begin, in order."""
    keys = {entry.key for entry in store.entries(_SEGMENTS)} - {_SPARE}
    return sorted(_start(key) for key in keys)


def _start(key: str) -> int:
    name = key.removeprefix(f"{_SEGMENTS}/").removesuffix(_SUFFIX)
    if not name.isdecimal():
        raise StudyError(f"{key}: not a segment of a journal of this program")
    return int(name)
