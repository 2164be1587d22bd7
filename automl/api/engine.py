"""`automl.search`: the search engine on any function, without images and networks."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from automl.api.result import SearchResult
from automl.api.trial import Costs, Evaluate, FunctionTrial
from automl.conductor.conductor import Conductor, EventLog
from automl.conductor.events import last_epoch
from automl.conductor.here import run_here
from automl.conductor.mirror import NoMirror
from automl.conductor.snapshot import Observer, Snapshot
from automl.errors import StudyError
from automl.records import Direction, Scalar, TrialConfig, TrialMessage, Verdict
from automl.sampling.mirror import OptunaMirror
from automl.space.faults import FaultsError, wrong_value
from automl.space.search_plan import SearchPlan, plan_from, plan_key, plan_to_json
from automl.store.journal import Journal, read_journal
from automl.store.layout import StudyFolder


def search(  # noqa: PLR0913 - all but two are keywords with defaults
    space: Mapping[str, object],
    evaluate: Evaluate,
    *,
    objectives: Mapping[str, Direction],
    trials: int = 100,
    epochs: int = 1,
    min_epochs: int = 1,
    eta: int = 3,
    sampler: str = "auto",
    seed: int = 0,
    points: Sequence[Mapping[str, Scalar]] = (),
    costs: Costs | None = None,
    constraints: Mapping[str, float] | None = None,
    time_budget: str | float | None = None,
    front_unchanged_for: int | None = None,
    folder: str | Path | None = None,
    concurrent: int = 1,
    on_change: Callable[[Snapshot], None] | None = None,
) -> SearchResult:
    """Search `space` for what is best in `objectives`, as `automl search` does for networks.

    Args:
        space: a domain for each parameter, whatever its name: a plain value (fixed),
            `{"choice": [a, b]}`, `{"int": [low, high], "step": 8}` or
            `{"float": [low, high], "log": True}`, each with an optional `default` and `when`.
        evaluate: called with a `Trial`. It returns the metrics as a mapping, or it is a generator
            that yields them after each epoch, at most `trial.epochs` in all; it is closed where
            the trial pauses. A trial that goes on later, or after a kill, is called again with
            `trial.epochs_done` > 0: it yields from the epoch after that one.
        objectives: what is optimised, such as `{"accuracy": "maximize", "latency_ms":
            "minimize"}`; trials are compared in all of them at once.
        trials: configurations to try; the first is the default of the space.
        epochs: the most that one trial trains.
        min_epochs: epochs before trials are compared for the first time; then `eta` times as many,
            and so on.
        eta: at each comparison one trial in `eta` goes on; the others wait.
        sampler: auto, tpe, nsga2, nsga3, gp (which loads torch), random or qmc; auto is gp up to
            200 trials, where there are enough to learn from.
        seed: of all proposals; trial `n` gets `seed + n`.
        points: configurations to try right after the default one.
        costs: what is known of a configuration before it is evaluated, such as its latency; called
            once a trial.
        constraints: the largest values of `costs` accepted; a trial above one is infeasible,
            without an epoch.
        time_budget: no epoch begins after "30m", "2h" or so many seconds.
        front_unchanged_for: no new configuration after so many trials that left the front as it is.
        folder: where the journal is kept, and a folder for each trial; the same call goes on after
            a kill. None: nothing is kept.
        concurrent: trials at a time; more than one run as Ray processes on this machine, and
            `evaluate` and `costs` must be picklable.
        on_change: called with the state after each change.

    Raises:
        SpaceError: the space or a setting is wrong; the message lists every fault.
        UsageError: the folder holds another search, or another process works in it.
        StudyError: ten trials in a row failed for the same reason, or a disk is full.
    """
    plan = plan_from(
        space,
        objectives=objectives,
        constraints={} if constraints is None else constraints,
        epochs=epochs,
        search={
            "trials": trials,
            "sampler": sampler,
            "min_epochs": min_epochs,
            "eta": eta,
            "seed": seed,
            "points": list(points),
            "time_budget": time_budget,
            "stop_when": {"front_unchanged_for": front_unchanged_for},
            "concurrent": concurrent,
        },
    )
    if constraints and costs is None:
        raise FaultsError([wrong_value(("costs",), None, "a function that gives the constraints")])
    if not isinstance(plan.search.concurrent, int):
        raise FaultsError([wrong_value(("concurrent",), concurrent, "a whole number >= 1")])
    watcher = _Watcher(on_change)
    if folder is None and concurrent == 1:
        return _search(plan, evaluate, costs, None, _Memory(), watcher)
    with ExitStack() as stack:
        root = stack.enter_context(tempfile.TemporaryDirectory()) if folder is None else folder
        study = StudyFolder.open_or_create(Path(root), plan_to_json(plan), plan_key(plan))
        journal = stack.enter_context(Journal(study.journal_file))
        return _search(plan, evaluate, costs, study, journal, watcher)


def _search(
    plan: SearchPlan,
    evaluate: Evaluate,
    costs: Costs | None,
    study: StudyFolder | None,
    log: EventLog,
    watcher: Observer,
) -> SearchResult:
    mirror = OptunaMirror(study.optuna_file, plan.objectives, plan.space) if study else NoMirror()
    conductor = Conductor(plan, log, observer=watcher, clock=time.monotonic, mirror=mirror)

    def job(epochs_done: Callable[[str], int]) -> FunctionTrial:
        root = None if study is None else study.root
        return FunctionTrial(
            plan=plan, evaluate=evaluate, costs=costs, root=root, epochs_done=epochs_done
        )

    if study is not None and plan.search.concurrent != 1:
        _run_on_ray(conductor, job(_OnRecord(study.journal_file)), study)
    else:
        run_here(conductor, job(conductor.last_epoch))
    if conductor.fault is not None:
        raise StudyError(conductor.fault)
    return SearchResult(
        objectives=plan.objectives,
        trials=tuple(replace(trial, checkpoint=None) for trial in conductor.results()),
        epochs=round(conductor.snapshot().epochs),  # each one is a full one
    )


def _run_on_ray(conductor: Conductor, job: FunctionTrial, study: StudyFolder) -> None:
    from automl.distributed import connection  # noqa: PLC0415  Ray reads its environment at import

    search = conductor.plan.search
    with connection.connected():
        from automl.distributed.fleet import FixedFleet  # noqa: PLC0415
        from automl.distributed.tune_run import TuneSettings, run_on_tune  # noqa: PLC0415

        settings = TuneSettings(
            # Not for cores, but for the count of trials: what they compute is not ours to know.
            resources={"memory": 1.0},
            fleet=FixedFleet(int(search.concurrent)),
            max_failures=search.max_failures,
            storage=study.ray,
        )
        run_on_tune(conductor, job, settings)


@dataclass(frozen=True, slots=True)
class _OnRecord:
    """The epochs of a trial that a journal holds, asked for in another process."""

    journal: Path

    def __call__(self, trial_id: str) -> int:
        return last_epoch(read_journal(self.journal), trial_id)


class _Memory:
    """A log that is kept nowhere."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []

    def append(self, event: Mapping[str, Any]) -> None:
        self._events.append(dict(event))

    def read(self) -> list[dict[str, Any]]:
        return list(self._events)


@dataclass(frozen=True, slots=True)
class _Watcher:
    """Passes on each change."""

    on_change: Callable[[Snapshot], None] | None

    def on_message(self, config: TrialConfig, message: TrialMessage, verdict: Verdict) -> None:
        """A snapshot follows."""

    def on_promoted(self, config: TrialConfig, epoch: int) -> None:
        """A snapshot follows."""

    def on_snapshot(self, snapshot: Snapshot) -> None:
        if self.on_change is not None:
            self.on_change(snapshot)
