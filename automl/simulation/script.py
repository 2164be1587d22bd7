"""What a simulated trial does, and on what crew of workers it does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from automl.records import Measurement, TrialConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialScript:
    """A trial as it will go, known beforehand: seconds, and what it reports after each epoch.

    `setup_s` comes before the costs are told, `resume_s` before a trial goes on that was paused or
    lost its worker. An `infeasible` one, with the reason in words, ends after its costs.
    """

    setup_s: float
    resume_s: float
    epoch_s: tuple[float, ...]
    metrics: tuple[Mapping[str, float], ...]
    costs: tuple[Measurement, ...] = ()
    infeasible: str | None = None

    def __post_init__(self) -> None:
        if len(self.epoch_s) != len(self.metrics):
            raise ValueError(
                f"each epoch needs seconds and metrics, got {len(self.epoch_s)} and "
                f"{len(self.metrics)}"
            )
        if min(self.setup_s, self.resume_s, *self.epoch_s, 0.0) < 0:
            raise ValueError("seconds must not be negative")


#: Which trial does what.
Scripts = Callable[[TrialConfig], TrialScript]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """`nodes` machines with `places` trials at a time each; all are asked for at second 0.

    No more than `most_trials` run at a time on all of them together (None: as many as fit).

    A node works `node_start_s` after it was asked for, and each of its places first starts a
    process, `process_start_s`. It lives for an exponentially distributed time with the mean
    `mean_life_s` (None: for ever); a lost one is asked for again at once.
    """

    nodes: int
    places: int = 1
    most_trials: int | None = None
    node_start_s: float = 0.0
    process_start_s: float = 0.0
    mean_life_s: float | None = None

    def __post_init__(self) -> None:
        if self.nodes < 1 or self.places < 1:
            raise ValueError(
                f"nodes and places must be at least 1, got {self.nodes}, {self.places}"
            )
        if self.mean_life_s is not None and self.mean_life_s <= 0:
            raise ValueError(f"mean_life_s must be above 0, got {self.mean_life_s}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpan:
    """One life of a node, in seconds of the simulation; `last_used_s` is when its last work ended.

    `ended_s` is when it was lost, or the end of the search.
    """

    asked_s: float
    up_s: float
    last_used_s: float
    ended_s: float
    was_lost: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a simulated search went; seconds.

    `busy_s` is the time that places had a trial, all added up, `lost_s` the part of it that a lost
    node made worthless, `present_s` the time that places were there. `epochs_by_number` counts how
    many trials reported each epoch, `trial_s` the trials' own seconds as a study counts them.
    """

    makespan_s: float
    busy_s: float
    lost_s: float
    present_s: float
    trial_s: float
    epochs_by_number: Mapping[int, int]
    spans: tuple[NodeSpan, ...]

    @property
    def epochs(self) -> int:
        """All epochs that were reported."""
        return sum(self.epochs_by_number.values())

    @property
    def utilisation(self) -> float:
        """The share of the places' time that work was done in that was not lost."""
        return (self.busy_s - self.lost_s) / self.present_s if self.present_s > 0 else 0.0

    @property
    def lost_nodes(self) -> int:
        """How many nodes were lost."""
        return sum(span.was_lost for span in self.spans)
