"""One process after another, where several would make the same thing."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from automl.store.room import needing_room


@contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Hold the lock on a small file for as long as the block lasts, once the others let it go.

    The operating system lets it go with a process that is killed. The file stays.
    """
    with needing_room(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
