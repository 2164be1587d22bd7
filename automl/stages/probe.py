"""Probe a study before anything is spent: its first networks exported and a few steps trained."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from automl.backend import Backend, JobFault
from automl.conductor.conductor import Conductor
from automl.data.dataset import Dataset
from automl.errors import AutomlError, StudyError, UsageError
from automl.jobs.context import JobContext
from automl.jobs.costs import prepare_reference
from automl.jobs.pace import PaceJob, PaceOutcome, measure_pace
from automl.measurement.pace import NetworkPace, Probe
from automl.records import TrialConfig
from automl.simulation.searching import NobodyWatches, NoLog
from automl.space.experiment import Experiment
from automl.space.search_plan import plan_of
from automl.training.ranks import compute_device

#: Batches of each network that are timed, after one that warms up.
BATCHES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    """So many networks, each with so many CPU threads; what they write goes to `scratch`."""

    networks: int
    threads: int
    scratch: Path
    batches: int = BATCHES


def probe_study(
    experiment: Experiment,
    dataset: Dataset,
    backend: Backend,
    settings: ProbeSettings,
    say: Callable[[str], None],
) -> Probe:
    """Time the first configurations that the study would try, as its trials would run them.

    A configuration that fails is told and left out.

    Raises:
        StudyError: none can be timed.
        UsageError: none keeps the constraints.
    """
    context = JobContext(
        experiment=experiment,
        study_root=settings.scratch,
        dataset_root=dataset.root,
        threads=settings.threads,
        stopwatch=backend.stopwatch(),
    )
    prepare_reference(context)
    jobs = [
        PaceJob(context=context, config=config, batches=settings.batches)
        for config in first_trials(experiment, settings.networks)
    ]
    outcomes: dict[int, PaceOutcome] = {}
    for job, answer in backend.map_jobs(_fault_as_answer, jobs):
        number = job.config.number
        if isinstance(answer, PaceOutcome):
            outcomes[number] = answer
            say(f"probe: trial {number}: {_line(answer.pace)}")
        else:
            say(f"probe: trial {number} cannot be timed: {answer.reason}")
    if not outcomes:
        raise StudyError("no network of the space can be timed; see the lines above")
    found = [outcomes[number] for number in sorted(outcomes)]
    if all(outcome.pace.infeasible is not None for outcome in found):
        broken = "\n".join(f"  trial {o.pace.number}: {o.pace.infeasible}" for o in found)
        raise UsageError(f"every network that was probed breaks a constraint:\n{broken}")
    return Probe(
        networks=tuple(outcome.pace for outcome in found),
        process_s=_process_seconds(),
        device=found[0].device,
        cpu=backend.stopwatch().cpu(),
        threads=settings.threads,
        images=dict(dataset.info.counts),
        waited=max(outcome.waited for outcome in found),
    )


def first_trials(experiment: Experiment, count: int) -> list[TrialConfig]:
    """What the study would try first: the default configuration, the points, then proposals."""
    conductor = Conductor(
        plan_of(experiment), NoLog(), observer=NobodyWatches(), clock=time.monotonic
    )
    found = (conductor.next_trial() for _ in range(count))
    return [config for config in found if config is not None]


def probed_experiment(experiment: Experiment, *, here: bool) -> Experiment:
    """The experiment as it can be probed: on this machine on what it has, whatever is declared."""
    train = experiment.train.model_copy(update={"workers": 1})
    if here and compute_device("auto").type == "cpu":
        exact = {"fp16": "auto", "bf16": "auto"}.get(train.precision, train.precision)
        train = train.model_copy(update={"device": "auto", "precision": exact})
    return experiment.model_copy(update={"train": train})


def _fault_as_answer(job: PaceJob) -> PaceOutcome | JobFault:
    """One network's pace; what a trial would fail with is an answer, too."""
    try:
        return measure_pace(job)
    except (AutomlError, RuntimeError, ValueError) as error:
        return JobFault(reason=f"{type(error).__name__}: {error}")


def _line(pace: NetworkPace) -> str:
    network = ", ".join(
        str(pace.params[name])
        for name in ("encoder", "decoder", "decoder_width")
        if name in pace.params
    )
    if pace.infeasible is not None:
        return f"{network}: breaks a constraint: {pace.infeasible}"
    return (
        f"{network}: {pace.setup_s:.1f} s before training, then {pace.epoch_s:.1f} s an epoch and "
        f"{pace.evaluation_s:.1f} s to score it"
    )


def _process_seconds() -> float:
    """What a new process works until it can train; others change its processor time least."""
    before = os.times()
    subprocess.run([sys.executable, "-c", "import automl.jobs.trial"], check=True)
    after = os.times()
    return (
        after.children_user
        + after.children_system
        - (before.children_user + before.children_system)
    )
