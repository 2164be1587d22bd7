"""How long a trial would take, from a few steps of it: nothing is trained to any use.

On a CPU with one thread the processor's time counts, as other programs disturb it least; else the
clock's.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch

from automl.bounds import broken_bounds
from automl.data.batching import Batch, BatchSettings, epoch_batches
from automl.data.dataset import ArrowSplit
from automl.fidelity import FULL
from automl.jobs.context import JobContext, torch_threads
from automl.jobs.costs import measure_costs
from automl.jobs.trainee import Trainee, trainee_of
from automl.measurement.pace import NetworkPace
from automl.records import TrialConfig, value_of
from automl.training.borrowing import evaluating
from automl.training.evaluation import normalise
from automl.training.loop import Run, prepared
from automl.training.ranks import compute_device


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceJob:
    """A configuration to time: so many batches of training and of val, after one that warms up."""

    context: JobContext
    config: TrialConfig
    batches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceOutcome:
    """The pace, the device, and how much longer the work took by the clock than it counts."""

    pace: NetworkPace
    device: str
    waited: float


def measure_pace(job: PaceJob) -> PaceOutcome:
    """Export and time the network of one configuration, and train a few steps of it.

    Raises what a trial would fail with; the caller tells the user.
    """
    with torch_threads(job.context.threads):
        device = compute_device(job.context.experiment.train.device)
        clock = _clock(device, job.context.threads)
        began_s, counted_s = time.perf_counter(), clock()
        pace = _pace(job, device, clock)
        wall_s, own_s = time.perf_counter() - began_s, clock() - counted_s
    waited = max(0.0, wall_s / own_s - 1) if own_s > 0 else 0.0
    return PaceOutcome(pace=pace, device=device.type, waited=waited)


def _clock(device: torch.device, threads: int) -> Callable[[], float]:
    is_alone = device.type == "cpu" and threads == 1
    return time.process_time if is_alone else time.perf_counter


def _pace(job: PaceJob, device: torch.device, clock: Callable[[], float]) -> NetworkPace:
    started = clock()
    costs = measure_costs(job.config, job.context)
    broken = broken_bounds(job.context.experiment.constraints, costs)
    latency_ms = value_of(costs, "latency_ms")
    pace = NetworkPace(
        number=job.config.number,
        params=job.config.params,
        setup_s=clock() - started,
        costs=costs,
        image_s=0.0 if latency_ms is None else latency_ms / 1e3,
        infeasible=broken,
    )
    if broken is not None:
        return pace
    started = clock()
    trainee = trainee_of(job.config, job.context)
    # How much less an epoch is at a lower fidelity, the plan knows.
    settings = replace(trainee.settings, fidelity=FULL)
    with prepared(trainee.model, trainee.dataset, settings, step_loss=trainee.loss) as run:
        build_s = clock() - started
        steps_s = _step_seconds(run, job.batches, clock)
        return replace(
            pace,
            setup_s=pace.setup_s + build_s,
            epoch_s=statistics.median(steps_s) * len(run.plan),
            step_spread=_spread(steps_s),
            evaluation_s=_evaluation_seconds(run, trainee, job.batches, device, clock),
        )


def _step_seconds(run: Run, count: int, clock: Callable[[], float]) -> list[float]:
    """Seconds of each batch, made and trained on; `run_epoch` waits for the device."""

    def made() -> Iterator[Batch]:
        """As many batches as are wanted, however few an epoch has."""
        while True:
            yield from run.plan.some_batches(count + 1)

    batches, seconds = made(), []
    for _ in range(count + 1):
        started = clock()
        run.stepper.run_epoch([next(batches)], 0)
        seconds.append(clock() - started)
    return seconds[1:]


def _evaluation_seconds(
    run: Run, trainee: Trainee, count: int, device: torch.device, clock: Callable[[], float]
) -> float:
    """Seconds of scoring all of val, from a few of its batches."""
    split: ArrowSplit = trainee.dataset.split("val")
    batching = BatchSettings(batch_size=trainee.settings.batch_size)
    seconds, images = 0.0, 0
    with evaluating(run.trained_model), torch.inference_mode():
        for batch in islice(epoch_batches(split, batching, epoch=0), count):
            started = clock()
            with run.stepper.precision.autocast():
                logits_nkhw = run.trained_model(
                    normalise(batch.images_nhwc.to(device), trainee.settings.normalisation)
                )
            logits_nkhw.argmax(1).cpu()
            seconds += clock() - started
            images += len(batch.images_nhwc)
    return seconds / max(1, images) * len(split)


def _spread(seconds: list[float]) -> float:
    """The range of the middle half, as a share of the median."""
    if len(seconds) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return (high - low) / middle if middle > 0 else 0.0
