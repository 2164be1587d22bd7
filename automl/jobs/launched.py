"""A trial trained by the processes that torchrun started.

The first rank runs the study; the others wait for it to name a trial, train it with it, and wait
again, until it says that there is none left.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from automl.errors import StudyError, TrialError
from automl.jobs.context import JobContext, torch_threads
from automl.jobs.trial import TrialRun, train_in_this_process
from automl.records import TrialConfig, TrialMessage, Verdict
from automl.training.ranks import from_first_rank


@dataclass(frozen=True, slots=True)
class _Order:
    """What the first rank asks the others to train with it."""

    config: TrialConfig
    context: JobContext


class LostGroupError(StudyError):
    """The first rank has left the training alone: the others wait for it in a collective."""


def train_in_launched_group(run: TrialRun) -> bool:
    """Train one trial with every rank of the group; the first rank alone calls this.

    Raises TrialError for a fault that every rank meets alike, LostGroupError for any other: the
    trial has no end then, and goes on when the same command is run again.
    """
    from_first_rank(_Order(run.config, run.context))
    try:
        return train_in_this_process(run)
    except TrialError:
        raise
    except Exception as error:
        note = run.note()
        learnt = "" if note is None else f" ({note})"
        raise LostGroupError(
            f"rank 0 failed{learnt}: {type(error).__name__}: {error}; "
            "the same command goes on from the last checkpoint"
        ) from error


@contextmanager
def leading_group() -> Iterator[None]:
    """Let the other ranks go at the end of the block, whatever that is, if they can still hear."""
    try:
        yield
    except (LostGroupError, KeyboardInterrupt):
        raise
    except BaseException:
        from_first_rank(None)
        raise
    from_first_rank(None)


def follow_first_rank() -> None:
    """Train what the first rank names, until it dismisses the group.

    A fault that is a trial's is met by every rank alike and is the first one's to tell. Any other
    is raised: the process ends, and torchrun ends the group.
    """
    while (order := _next_order()) is not None:
        run = TrialRun(order.config, order.context, _Silent(), time.monotonic())
        try:
            with torch_threads(order.context.threads):
                train_in_this_process(run)
        except TrialError:
            continue


def _next_order() -> _Order | None:
    nothing: _Order | None = None
    return from_first_rank(nothing)


class _Silent:
    """The reporter of ranks that do not report: the first one's verdict reaches them in `fit`."""

    def report(self, _config: TrialConfig, _message: TrialMessage) -> Verdict:
        """Go on."""
        return Verdict.CONTINUE
