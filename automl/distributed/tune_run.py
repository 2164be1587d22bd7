"""A search on Ray Tune: each trial in an actor that the next one uses again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune

from automl.conductor.conductor import Conductor
from automl.conductor.events import verdict_on
from automl.distributed.fleet import Fleet
from automl.distributed.moving import NODE_KEY, this_node
from automl.distributed.tune_seams import (
    CONFIG_KEY,
    FAULT_KEY,
    MESSAGE_KEY,
    ConductorScheduler,
    ConductorSearcher,
    Door,
)
from automl.errors import AutomlError
from automl.records import (
    TrialConfig,
    TrialMessage,
    Verdict,
    canonical_json,
    from_json,
    to_json,
)
from automl.reporting import TrialJob

#: Gives the events of the study's journal so far, on any node.
Events = Callable[[], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneSettings:
    """How Tune runs trials.

    `resources` is what one trial holds, by Ray's names, `fleet` knows how many may run at a time,
    and `max_failures` is how often one is started again whose process died. Tune writes to
    `storage`, which is removed at the end. `events` is where trials that end by themselves read
    verdicts. No trial runs on the node of the id `spared_node`, not even one that asks for no CPU.
    """

    resources: Mapping[str, float]
    fleet: Fleet
    max_failures: int
    storage: Path
    events: Events | None = None
    spared_node: str | None = None


class TuneReporter:
    """Reports to the driver of the study through Ray Tune."""

    def report(self, config: TrialConfig, message: TrialMessage) -> Verdict:
        """Pass on one message; where the verdict is to stop, Tune raises SystemExit here."""
        _report(message)
        return Verdict.CONTINUE


@dataclass(frozen=True, slots=True)
class JournalReporter:
    """Reports as `TuneReporter` does, for a trial that ends by itself: see `ConductorScheduler`."""

    events: Events

    def report(self, config: TrialConfig, message: TrialMessage) -> Verdict:
        """Pass on one message, and read what was decided on it."""
        _report(message)
        if message.kind != "epoch":
            return Verdict.CONTINUE
        # Tune comes back from a report only when the driver has dealt with it.
        return verdict_on(self.events(), config.trial_id, message.epoch)


def _report(message: TrialMessage) -> None:
    tune.report({MESSAGE_KEY: canonical_json(to_json(message)), NODE_KEY: this_node()})


def run_on_tune(conductor: Conductor, job: TrialJob, settings: TuneSettings) -> None:
    """Run trials on Ray Tune until the conductor has no more; `job` has to be picklable.

    Raises what is the study's fault, met here or in a trial's process.
    """
    door = Door(conductor)
    trainable = tune.with_resources(
        tune.with_parameters(_trainable, job=job, events=settings.events),
        _placement(settings),
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=ConductorSearcher(door, settings.fleet),
            scheduler=ConductorScheduler(
                door, settings.fleet, trials_end_by_themselves=settings.events is not None
            ),
            num_samples=-1,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(settings.storage),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=settings.max_failures),
        ),
    )
    tuner.fit()
    # Everything of worth is in the journal and the trials' folders.
    shutil.rmtree(settings.storage, ignore_errors=True)
    if door.fault is not None:
        raise door.fault


def _placement(settings: TuneSettings) -> tune.PlacementGroupFactory:
    bundles = [dict(settings.resources)]
    if settings.spared_node is None:
        return tune.PlacementGroupFactory(bundles)
    elsewhere = {"ray.io/node-id": f"!{settings.spared_node}"}
    return tune.PlacementGroupFactory(bundles, bundle_label_selector=[elsewhere])


def _trainable(tune_config: dict[str, Any], job: TrialJob, events: Events | None) -> None:
    reporter = TuneReporter() if events is None else JournalReporter(events)
    try:
        job(from_json(TrialConfig, tune_config[CONFIG_KEY]), reporter)
    except AutomlError as fault:
        tune.report({FAULT_KEY: str(fault)})
