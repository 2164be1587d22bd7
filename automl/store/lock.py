"""One writer for each study, also after the last one was killed.

The lock is flock(2) on a small file, which the operating system lets go with the process; the file
says who holds it, for the error of the one that comes second.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import weakref
from contextlib import AbstractContextManager
from pathlib import Path

from automl.errors import StudyError, UsageError


class WriterLock(AbstractContextManager["WriterLock"]):
    """Held from construction to `close`; a context manager.

    Raises UsageError naming the process that holds it, and StudyError where the file system has no
    locks or refuses the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        try:
            self._descriptor = _locked(path)
            _write_holder(self._descriptor)
        except OSError as error:
            self.close()
            raise StudyError(f"{path}: cannot lock the study: {error.strerror}") from error
        _HELD.add(self)

    def close(self) -> None:
        """Let the next writer in; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __exit__(self, *_: object) -> None:
        self.close()


_HELD: weakref.WeakSet[WriterLock] = weakref.WeakSet()


def _close_inherited() -> None:
    # A lock lives as long as any copy of its descriptor: a forked child (a loader worker, say)
    # that outlives a killed parent would keep the study locked.
    for lock in list(_HELD):
        lock.close()


os.register_at_fork(after_in_child=_close_inherited)


def _locked(path: Path) -> int:
    """Open and lock the file that has this name once the lock is held."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                return descriptor
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise UsageError(_held_message(path)) from error
            raise
        # The file was deleted (`--overwrite`) between opening and locking: a lock on it is void.
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _write_holder(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    holder = {"pid": os.getpid(), "host": socket.gethostname()}
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _held_message(path: Path) -> str:
    return (
        f"another search is running on this study: {_holder(path)} holds {path}; "
        "wait for it, stop it, or choose another --out"
    )


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_bytes())
        return f"pid {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, TypeError, KeyError):
        return "a process that has not written its pid yet"
