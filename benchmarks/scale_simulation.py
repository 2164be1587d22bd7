"""The search's scheduling on a simulated clock: recorded trials on 1 to 1,000 workers.

`scale.py --simulate` runs it. Each simulated trial is one of a study's journal, drawn at random:
its seconds before training, of each epoch, its costs and its scores. Epochs that it never trained
take its own median and keep its last score; to each score comes noise of 0.01, so that trials drawn
twice are not alike. What decides is the study's own conductor, and beside it successive halving
that waits until all trials of a rung are there.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from automl.conductor.budget import planned_epochs
from automl.records import (
    Measurement,
    TrialConfig,
    TrialMessage,
    TrialStatus,
    Verdict,
    from_json,
)
from automl.simulation.engine import Search, SimulatedClock, simulate
from automl.simulation.script import Crew, TrialScript
from automl.simulation.searching import SynchronousHalving, conductor_of, stand_in_plan
from automl.space.search_plan import SearchPlan
from automl.store.journal import read_journal

EPOCHS, MIN_EPOCHS, ETA = 12, 1, 3
OBJECTIVES = {"miou": "maximize", "latency_ms": "minimize"}
_NOISE = 0.01


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One trial of a journal; `epoch_s` and `mious` by epoch, as far as it came."""

    setup_s: float
    epoch_s: tuple[float, ...]
    mious: tuple[float, ...]
    costs: tuple[Measurement, ...]

    def script(self, rng: np.random.Generator) -> TrialScript:
        """What it does again, beyond its last epoch as it would be expected to."""
        typical_s = statistics.median(self.epoch_s)
        more = EPOCHS - len(self.epoch_s)
        noise = rng.normal(0, _NOISE, EPOCHS)
        mious = [*self.mious, *[self.mious[-1]] * more]
        return TrialScript(
            setup_s=self.setup_s,
            resume_s=self.setup_s / 2,
            epoch_s=(*self.epoch_s, *[typical_s] * more),
            metrics=tuple({"miou": m + float(n)} for m, n in zip(mious, noise, strict=True)),
            costs=self.costs,
        )


def recorded_trials(journal: Path) -> list[Recorded]:
    """The trials of a journal that trained at least an epoch."""
    told: dict[str, list[tuple[TrialMessage, float]]] = {}
    for event in read_journal(journal):
        if event["kind"] == "message":
            message = from_json(TrialMessage, event["message"])
            told.setdefault(event["trial_id"], []).append((message, event["added_seconds"]))
    return [_recorded(messages) for messages in told.values() if _trained(messages)]


def _trained(messages: list[tuple[TrialMessage, float]]) -> bool:
    return any(message.kind == "epoch" for message, _ in messages)


def _recorded(messages: list[tuple[TrialMessage, float]]) -> Recorded:
    epochs = [(message, s) for message, s in messages if message.kind == "epoch"]
    costs = next((m for m, _ in messages if m.kind == "costs"), None)
    return Recorded(
        setup_s=next((s for message, s in messages if message.kind == "costs"), 0.0),
        epoch_s=tuple(seconds for _, seconds in epochs),
        mious=tuple(message.metrics["miou"] for message, _ in epochs),
        costs=() if costs is None else costs.measurements,
    )


class FirstEnd:
    """A search that notes when the first trial ends its full training, the default one aside."""

    def __init__(self, search: Search, clock: SimulatedClock) -> None:
        self._search, self._clock = search, clock
        self.seconds: float | None = None

    def next_trial(self) -> TrialConfig | None:
        """As the search says."""
        return self._search.next_trial()

    def handle(self, trial_id: str, message: TrialMessage) -> Verdict:
        """As the search says."""
        is_end = message.status is TrialStatus.COMPLETED and not trial_id.startswith("0000-")
        if is_end and self.seconds is None:
            self.seconds = self._clock.now
        return self._search.handle(trial_id, message)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is told of a search."""

    hours: float
    first_hours: float
    utilisation: float
    lost: int


@dataclass(frozen=True, kw_only=True)
class Case:
    """So many workers, which live so long on average (None: for ever)."""

    workers: int
    life_s: float | None
    node_start_s: float


def run_case(
    plan: SearchPlan, recorded: list[Recorded], case: Case, *, synchronous: bool, seed: int
) -> Found:
    """One search; all epochs that are planned are done, whatever is lost."""
    drawn: dict[int, TrialScript] = {}

    def script(config: TrialConfig) -> TrialScript:
        if config.number not in drawn:
            rng = np.random.default_rng((seed, config.number))
            drawn[config.number] = recorded[int(rng.integers(len(recorded)))].script(rng)
        return drawn[config.number]

    clock = SimulatedClock()
    search = FirstEnd(SynchronousHalving(plan) if synchronous else conductor_of(plan, clock), clock)
    crew = Crew(nodes=case.workers, node_start_s=case.node_start_s, mean_life_s=case.life_s)
    rng = np.random.default_rng((seed, case.workers))
    outcome = simulate(search, script, crew, clock=clock, rng=rng)
    assert outcome.epochs == planned_epochs(plan), "epochs are missing"
    return Found(
        hours=outcome.makespan_s / 3600,
        first_hours=outcome.makespan_s / 3600 if search.seconds is None else search.seconds / 3600,
        utilisation=outcome.utilisation,
        lost=outcome.lost_nodes,
    )


def run_simulation(
    journal: Path, *, trials: int, workers: list[int], lives_s: list[float | None], seeds: int
) -> None:
    """Print a row for each case: medians over seeds."""
    recorded = recorded_trials(journal)
    plan = stand_in_plan(
        trials=trials, epochs=EPOCHS, min_epochs=MIN_EPOCHS, eta=ETA, objectives=OBJECTIVES
    )
    epochs = [seconds for one in recorded for seconds in one.epoch_s]
    print(
        f"{trials} trials drawn from {len(recorded)} of {journal}: epochs of {min(epochs):.0f} to "
        f"{max(epochs):.0f} s, rungs at {MIN_EPOCHS}, times {ETA}, of {EPOCHS} epochs; "
        f"{planned_epochs(plan):.0f} epochs in all; medians of {seeds} seeds"
    )
    for life_s in lives_s:
        lost = "no worker is lost" if life_s is None else f"workers live {life_s / 60:g} min"
        print(f"\n{lost}, a new one works 2 min after it was asked for")
        print(f"{'':>7}   {'promotion':^38}   {'whole rungs':^32}   promotion is so much faster")
        columns = f"{'hours':>8}{'first':>9}{'busy':>9}"
        print(f"workers   {columns}{'lost':>9}      {columns}")
        for count in workers:
            case = Case(workers=count, life_s=life_s, node_start_s=120.0)
            ours, theirs = (
                _medians(
                    [
                        run_case(plan, recorded, case, synchronous=synchronous, seed=seed)
                        for seed in range(seeds)
                    ]
                )
                for synchronous in (False, True)
            )
            print(
                f"{count:>7}   {ours['hours']:>8.3f}{ours['first_hours']:>9.3f}"
                f"{ours['utilisation']:>9.1%}{ours['lost']:>9.0f}      {theirs['hours']:>8.3f}"
                f"{theirs['first_hours']:>9.3f}{theirs['utilisation']:>9.1%}      "
                f"{theirs['hours'] / ours['hours']:.2f} x, first "
                f"{theirs['first_hours'] / ours['first_hours']:.2f} x",
                flush=True,
            )


def _medians(found: list[Found]) -> Mapping[str, float]:
    return {
        name: statistics.median(getattr(one, name) for one in found)
        for name in ("hours", "first_hours", "utilisation", "lost")
    }
