"""What a run tells: each epoch to a reporter, and its end to the caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from automl.measurement.quality import SegmentationScores
from automl.records import Verdict


class EpochReporter(Protocol):
    """Hears of each finished epoch and says whether to go on."""

    def report(self, epoch: int, metrics: Mapping[str, float]) -> Verdict:
        """Called after epoch `epoch` (from 1), on every rank with the same metrics.

        The answer of rank 0 counts. The checkpoint of the epoch is on disk by then. A run that
        continues reports the epoch it continues from once more.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """The end of a run. Times are wall seconds over all parts of a run that was continued.

    `losses` are the mean training losses of the epochs. `step_seconds` is spent in optimizer steps
    (forward, backward, update), `train_seconds` adds waiting for data, `evaluation_seconds` is
    spent on the validation split, `total_seconds` is everything up to the last checkpoint plus
    what this call did after it. `stopped` says that the reporter said so, `early` tells of an end
    by the settings' own early stop.
    """

    epochs: int
    stopped: bool
    early: str | None
    scores: SegmentationScores
    metrics: Mapping[str, float]
    losses: tuple[float, ...]
    step_seconds: float
    train_seconds: float
    evaluation_seconds: float
    total_seconds: float
