"""A job that runs out of memory goes on from its checkpoint, with smaller pieces of each batch.

The number of pieces is kept in the job's folder (`memory.json`), so that a job that is started
again, by a user or by a backend, does not meet the same wall. The file is also how a group of
processes agrees. A rank out of memory cannot answer the collectives that the others wait in, whose
number and sizes only the lost forward pass knew; so it writes the file and fails, the group ends
with it, as for any lost rank, and the next group, which reads the file, works in smaller pieces on
every rank alike.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from automl.errors import StudyError, TrialError
from automl.records import from_json, to_json
from automl.store.atomic import write_json
from automl.training.memory import is_out_of_memory, release_memory
from automl.training.ranks import world_size

Answer = TypeVar("Answer")

_FILE = "memory.json"

_log = logging.getLogger(__name__)


class TooLargeError(TrialError):
    """Not even one image at a time fits into memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNote:
    """What a job learnt of its memory.

    `micro_batches` is the number of pieces for the next attempt, `images` the most that each rank
    then has in a piece; `too_large` says that one image did not fit. `faults` counts, so that a
    new fault shows; `error` is the last one.
    """

    micro_batches: int
    images: int
    faults: int
    too_large: bool
    error: str

    def __post_init__(self) -> None:
        if min(self.micro_batches, self.images, self.faults) < 1:
            raise ValueError(f"counts must be at least 1, got {self}")

    def __str__(self) -> str:
        if self.too_large:
            return f"out of memory even with a microbatch of {self.images} image: {self.error}"
        return (
            f"out of memory, went on with {self.micro_batches} micro batches a batch, "
            f"of at most {self.images} images"
        )


def read_note(folder: Path) -> MemoryNote | None:
    """What the job in `folder` learnt; None where its memory sufficed so far."""
    file = memory_file(folder)
    return (
        from_json(MemoryNote, json.loads(file.read_text(encoding="utf-8")))
        if file.exists()
        else None
    )


def memory_file(folder: Path) -> Path:
    """Where it is written down."""
    return folder / _FILE


def micro_batches(folder: Path) -> int:
    """The number of pieces in which the job in `folder` works through a batch."""
    note = read_note(folder)
    return 1 if note is None else note.micro_batches


@contextmanager
def noting_memory(folder: Path, batch_size: int) -> Iterator[None]:
    """Write down that the block ran out of memory; its error then goes on, as all others do."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            note = _next_note(read_note(folder), max(1, batch_size // world_size()), error)
            write_json(memory_file(folder), to_json(note))
        raise


def within_memory(folder: Path, attempt: Callable[[], Answer]) -> Answer:
    """Attempt a job again for as long as it fails for memory and smaller pieces are left.

    Raises TooLargeError where one image at a time does not fit, and what `attempt` raises else.
    """
    while True:
        before = read_note(folder)
        try:
            return attempt()
        except StudyError:
            raise
        except Exception:
            note = read_note(folder)
            if note is None or note == before:
                raise
        # Only here, past the `except`, does nothing hold the failed attempt's network any more.
        release_memory()
        if note.too_large:
            raise TooLargeError(str(note))
        _log.warning("%s: %s (%s)", folder.name, note, note.error)


def _next_note(before: MemoryNote | None, images: int, error: BaseException) -> MemoryNote:
    """Twice the pieces of before, at most one for each of the `images` of a rank's batch."""
    pieces = 1 if before is None else before.micro_batches
    more = min(2 * pieces, images)
    return MemoryNote(
        micro_batches=more,
        images=-(-images // more),
        faults=1 if before is None else before.faults + 1,
        too_large=pieces >= images,
        error=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
    )
