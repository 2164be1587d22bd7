r"""The crash-safe record of what happened in a study: one JSON line an event, append only.

A line is `{"crc":"HHHHHHHH","event":{...}}\n`. The checksum is the CRC-32 of the event's bytes,
started from the checksum of the line before: a line that was changed, lost, doubled or moved shows.
An event is acknowledged (`append` returns) once its line is on disk. A killed writer therefore
leaves acknowledged lines and at most one torn line at the end, which the next writer cuts off.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from automl.errors import StudyError
from automl.records import canonical_json
from automl.store.atomic import sync
from automl.store.lock import WriterLock

#: What a study's journal is called.
JOURNAL_NAME = "journal.jsonl"

_EVENT_START = len(b'{"crc":"00000000","event":')


class LineCopy(Protocol):
    """Where each line goes as well before its event is acknowledged."""

    def take(self, start: int, line: bytes) -> None:
        """Keep the line that begins at byte `start`; raises StudyError where it cannot."""


class NoCopy:
    """The file is all that there is."""

    def take(self, start: int, line: bytes) -> None:
        """Nothing to do."""


class Journal(AbstractContextManager["Journal"]):
    """The one writer of a journal; safe to use from several threads, and a context manager.

    Opening creates the file and its folder where missing, takes the study's lock (`lock_path`) and
    cuts off a torn last line. Raises UsageError when another process writes to this journal, and
    StudyError when the file is damaged or the disk refuses.
    """

    def __init__(self, path: Path, copy: LineCopy | None = None) -> None:
        self.path = path
        self._copy: LineCopy = NoCopy() if copy is None else copy
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = WriterLock(lock_path(path))
        self._descriptor: int | None = None
        self._turn = threading.Lock()
        try:
            content = path.read_bytes() if path.exists() else b""
            parsed = _parse(path, content)
            self._size, self._crc = parsed.size, parsed.crc
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            if len(content) > parsed.size:
                os.ftruncate(self._descriptor, parsed.size)
            os.fsync(self._descriptor)
            sync(path.parent)
        except OSError as error:
            self.close()
            raise StudyError(f"{path}: cannot open the journal: {error.strerror}") from error
        except BaseException:
            self.close()
            raise

    def append(self, event: Mapping[str, object]) -> None:
        """Put one event on disk; when this returns, a kill or a power loss cannot undo it.

        Raises ValueError or TypeError on what JSON cannot hold (NaN too), and StudyError when the
        disk or the copy refuses; in both cases the journal is as it was.
        """
        body = canonical_json(dict(event)).encode()
        with self._turn:
            if self._descriptor is None:
                raise ValueError(f"{self.path}: the journal is closed")
            crc = zlib.crc32(body, self._crc)
            line = b'{"crc":"%08x","event":%b}\n' % (crc, body)
            try:
                _write_all(self._descriptor, line)
                os.fsync(self._descriptor)
            except OSError as error:
                self._undo(self._descriptor)
                raise StudyError(
                    f"{self.path}: cannot write to the journal: {error.strerror}; all that was "
                    "acknowledged before is kept: make room and run the same command again"
                ) from error
            try:
                self._copy.take(self._size, line)
            except StudyError:
                self._undo(self._descriptor)
                raise
            self._crc = crc
            self._size += len(line)

    def read(self) -> list[dict[str, Any]]:
        """All acknowledged events, oldest first; raises StudyError on damage."""
        with self._turn:
            return read_journal(self.path)

    def close(self) -> None:
        """Let the next writer in; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._lock.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _undo(self, descriptor: int) -> None:
        # Part of the line may be there; the next line must not follow it.
        try:
            os.ftruncate(descriptor, self._size)
        except OSError:
            self.close()


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The events of a journal that another process may be writing; takes no lock, changes nothing.

    A missing file holds no events, and a torn last line is not an event yet. Raises StudyError
    naming the file and the line when an earlier line is damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StudyError(f"{path}: cannot read the journal: {error.strerror}") from error
    return parse_journal(path, content)


def parse_journal(name: Path | str, content: bytes) -> list[dict[str, Any]]:
    """The events of a content that errors call `name`; raises as `read_journal` does."""
    return _parse(name, content).events


def lock_path(journal: Path) -> Path:
    """The lock file that belongs to a journal."""
    return journal.with_suffix(".lock")


class _Parsed(NamedTuple):
    """The events, the size in bytes of their lines, and the checksum of the last one."""

    events: list[dict[str, Any]]
    size: int
    crc: int


def _parse(path: Path | str, content: bytes) -> _Parsed:
    *lines, _torn = content.split(b"\n")
    if lines and b"\0" in lines[-1]:
        # JSON holds no zero byte: after a power loss, a block of the last line that never arrived.
        lines.pop()
    events: list[dict[str, Any]] = []
    size = crc = 0
    for number, line in enumerate(lines, start=1):
        body = line[_EVENT_START:-1]
        crc = zlib.crc32(body, crc)
        if line != b'{"crc":"%08x","event":%b}' % (crc, body):
            raise StudyError(_damage_message(path, number, len(lines)))
        events.append(json.loads(body))
        size += len(line) + 1
    return _Parsed(events, size, crc)


def _damage_message(path: Path | str, number: int, num_lines: int) -> str:
    return (
        f"{path}:{number}: this line is damaged (line {number} of {num_lines}: its checksum does "
        "not follow from the line before); restore the file from a copy, delete this line and all "
        f"after it to go on from event {number - 1}, or start anew with --overwrite"
    )


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
