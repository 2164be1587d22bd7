"""Failures in a row: so many of one kind are the study's fault, not the trials'."""

from __future__ import annotations

from automl.records import TrialStatus

#: This many failures of one kind in a row end the study.
MOST_IN_A_ROW = 10


class FailureStreak:
    """Counts the failures of one kind that no other end of a trial has interrupted."""

    def __init__(self) -> None:
        self._kind = ""
        self._length = 0
        self._last: str | None = None

    @property
    def fault(self) -> str | None:
        """What is wrong with the study, or None."""
        if self._length < MOST_IN_A_ROW:
            return None
        return f"{MOST_IN_A_ROW} trials in a row failed, the last: {self._last}"

    def count(self, status: TrialStatus, reason: str | None) -> None:
        """A trial has ended. Its kind of failure is what its reason says before the first colon."""
        if status is not TrialStatus.FAILED:
            self._length = 0
            return
        kind = str(reason).partition(":")[0]
        self._length = self._length + 1 if kind == self._kind else 1
        self._kind, self._last = kind, reason
