"""A disk without room is the study's fault, and told as such, whatever was being written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from automl.errors import StudyError

_CODES = (errno.ENOSPC, errno.EDQUOT)
#: Libraries that write by themselves pass on no code, but the system's own words.
_WORDS = tuple(os.strerror(code) for code in _CODES)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or what caused it, says that a disk or a quota has no room left."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _CODES:
            return True
        if any(words in str(seen) for words in _WORDS):
            return True
        seen = seen.__cause__
    return False


def no_room(what: object) -> StudyError:
    """The fault of a study whose disk refused `what`."""
    return StudyError(
        f"{what}: cannot be written: {_WORDS[0]}; all that is finished is kept: "
        "make room and run the same command again"
    )


@contextmanager
def needing_room(path: Path) -> Iterator[None]:
    """Raise StudyError, naming `path`, where the block ends for want of room on the disk.

    Of nested blocks the outermost names what was being written: inner paths are of its making.
    """
    try:
        yield
    except Exception as error:
        if is_disk_full(error):
            raise no_room(path) from error
        raise
