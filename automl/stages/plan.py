"""Plan a study: a probe, many simulated courses, and what they take on so many machines."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from automl.backend import Backend
from automl.data.dataset import Dataset
from automl.errors import UsageError
from automl.jobs.context import available_cpus
from automl.planning.assumptions import assumptions
from automl.planning.estimate import Conditions, estimate, num_simulations
from automl.planning.machines import Machines
from automl.planning.plan import StudyPlan
from automl.planning.request import Request
from automl.space.experiment import Experiment
from automl.stages.probe import ProbeSettings, probe_study, probed_experiment
from automl.training.ranks import compute_device


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """For which machines a study is planned, how fast they are, and how many of them."""

    machines: Machines
    conditions: Conditions
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """So many networks are probed, on a cluster where there is a folder that its nodes share."""

    networks: int
    shared: Path | None = None


def target_of(experiment: Experiment, request: Request, *, probed_there: bool) -> Target:
    """The machines that are planned for.

    Raises UsageError where a trial does not fit on them, or where nobody knows their speed.
    """
    here = compute_device("auto").type
    priced = request.priced
    machines = _like_this_one(experiment, here) if priced is None else priced.machines
    if experiment.train.device == "cpu":
        machines = replace(machines, on_gpu=False)
    if experiment.train.device == "cuda" and not machines.on_gpu:
        raise UsageError(
            f"train.device: given cuda; allowed on {machines.name}, which has no GPU: auto, cpu"
        )
    counts = request.counts(machines.most_nodes)
    for count in counts:
        machines.slots(count, experiment)
    is_measured = request.speedup is None and (probed_there or priced is None)
    needs_speed = machines.on_gpu and here != "cuda"
    conditions = Conditions(
        speedup=(1.0, 1.0)
        if is_measured
        else _speedup(request, machines.name, is_needed=needs_speed),
        probed_there=is_measured,
        seed=experiment.search.seed,
    )
    return Target(machines=machines, conditions=conditions, counts=counts)


def _like_this_one(experiment: Experiment, device: str) -> Machines:
    gpus = torch.cuda.device_count() if device == "cuda" else 0
    return Machines(
        name="machines like this one",
        resources={"CPU": float(available_cpus()), "GPU": float(gpus)},
        on_gpu=gpus > 0 and experiment.train.device != "cpu",
    )


def _speedup(request: Request, name: str, *, is_needed: bool) -> tuple[float, float]:
    if request.speedup is not None:
        return request.speedup
    declared = None if request.priced is None else request.priced.declared_speed
    if declared is not None:
        return declared, declared
    if is_needed:
        raise UsageError(
            f"--speedup: missing; {name} trains on GPUs, and the probe would run on a CPU: say how "
            "many times as fast a GPU is, such as 8-20, or write `speed` into the file of prices, "
            "or probe on the cluster with --address"
        )
    return 1.0, 1.0


def plan_study(
    experiment: Experiment,
    dataset: Dataset,
    backend: Backend,
    target: Target,
    probing: Probing,
    say: Callable[[str], None],
) -> StudyPlan:
    """Probe, simulate, and put it all together; what the probe writes is removed again.

    Raises as `probe_study` does.
    """
    machines, conditions = target.machines, target.conditions
    threads = _threads(experiment, target, here=probing.shared is None)
    if probing.shared is not None:
        probing.shared.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".probe-", dir=probing.shared) as scratch:
        settings = ProbeSettings(
            networks=probing.networks,
            threads=threads,
            scratch=Path(scratch),
        )
        probed = probed_experiment(experiment, here=probing.shared is None)
        probe = probe_study(probed, dataset, backend, settings, say)
    courses = num_simulations(experiment)
    options = estimate(
        experiment,
        probe,
        machines,
        conditions,
        node_counts=target.counts,
        tell=lambda count: say(f"simulating {courses} courses of the study on {count} machine(s)"),
    )
    return StudyPlan(
        made=dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds"),
        study_key=experiment.key(),
        trials=experiment.search.trials,
        dataset=dataset.info.fingerprint,
        machines=machines.name,
        probe=probe,
        assumptions=assumptions(probe, machines, conditions, experiment.train.workers),
        simulations=courses,
        options=options,
    )


def _threads(experiment: Experiment, target: Target, *, here: bool) -> int:
    """The CPU threads of the probe: those of a trial, where it runs on the machines planned for.

    Elsewhere it is one, whose time is that of the processor and hardly disturbed by others; what
    several of another machine give is part of `speedup`.
    """
    planned = target.machines.slots(target.counts[0], experiment).threads
    if here and target.machines.rates is not None:
        return 1
    return min(planned, available_cpus()) if here else planned
