"""What a search knows of one trial while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from automl.records import (
    Measurement,
    Objective,
    TrialConfig,
    TrialMessage,
    TrialResult,
    TrialStatus,
    Verdict,
    value_of,
)


@dataclass(slots=True)
class TrialState:
    """One trial: its sample, what it reported, and how it ended (`status` is None until then)."""

    config: TrialConfig
    measurements: tuple[Measurement, ...] = ()
    epochs: dict[int, Mapping[str, float]] = field(default_factory=dict)
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    status: TrialStatus | None = None
    reason: str | None = None
    seconds: float = 0.0
    attempt_seconds: float = 0.0

    @property
    def last_epoch(self) -> int:
        """The latest epoch that was reported; 0 before the first."""
        return max(self.epochs, default=0)

    def apply(self, message: TrialMessage) -> None:
        """Take in one message."""
        if message.kind == "costs":
            self.measurements = message.measurements
        elif message.kind == "epoch":
            self.epochs[message.epoch] = message.metrics
        else:
            self.status, self.reason = message.status, message.reason

    def added_seconds(self, message: TrialMessage) -> float:
        """The time since the trial's previous message; an attempt that restarts counts from 0."""
        before, self.attempt_seconds = self.attempt_seconds, message.seconds
        return message.seconds - before if message.seconds >= before else message.seconds

    def notice_restart(self, seconds: float) -> None:
        """An attempt that tells again what is known may have begun anew, without a word of it."""
        if seconds < self.attempt_seconds:
            self.attempt_seconds = 0.0

    def losses(self, objectives: Sequence[Objective], epoch: int) -> list[float] | None:
        """The objectives after `epoch` as values to minimise; None where one is missing."""
        scores = self.epochs.get(epoch)
        return None if scores is None else self.losses_of(objectives, scores)

    def losses_of(
        self, objectives: Sequence[Objective], scores: Mapping[str, float]
    ) -> list[float] | None:
        """The objectives, given an epoch's scores; costs come from the trial's measurements."""
        row: list[float] = []
        for objective in objectives:
            value = scores.get(objective.metric, value_of(self.measurements, objective.metric))
            if value is None:
                return None
            row.append(objective.loss(value))
        return row

    def result(self, status: TrialStatus, reason: str | None) -> TrialResult:
        """The trial as a record; quality on val comes first, then costs."""
        scores = self.epochs.get(self.last_epoch, {})
        quality = tuple(
            Measurement(metric=name, value=value, split="val") for name, value in scores.items()
        )
        return TrialResult(
            config=self.config,
            status=status,
            epochs=self.last_epoch,
            measurements=quality + self.measurements,
            checkpoint=f"trials/{self.config.trial_id}/checkpoint" if self.epochs else None,
            reason=reason,
            seconds=round(self.seconds, 3),
        )
