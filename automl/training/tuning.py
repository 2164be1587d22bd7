"""Measure, before a run, how it trains fastest: precision, layout, compiled or not, loader threads.

What is timed are steps of the run itself, on copies of the network and its loss, so the run that
follows is what it would have been had it been told the choice. All ranks of a group measure
together, since their steps wait for each other, and do what rank 0 found.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import torch
from torch import nn

from automl.data.batching import Batch
from automl.data.dataset import Dataset
from automl.errors import TrialError
from automl.fidelity import FULL
from automl.measurement.affinity import usable_cores
from automl.measurement.race import race
from automl.records import SpeedChoice
from automl.training.loop import Run, prepared
from automl.training.memory import is_out_of_memory
from automl.training.precision import resolve_precision
from automl.training.ranks import compute_device, from_first_rank, world_size
from automl.training.settings import FitSettings
from automl.training.steps import StepLoss

#: Rounds of steps that each way is timed in, after one that warms up, and images a step and rank:
#: in all about as much work as 40 to 60 images.
ROUNDS = 3
IMAGES = 4

#: Loader threads gain nothing where batches are made in less than this share of a step; where they
#: do, there are a few more than would just keep up.
_NEGLIGIBLE = 0.05
_HEADROOM = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be found out."""

    fastest_precision: bool = False
    compiled: bool = False
    fastest_loader: bool = False

    def __bool__(self) -> bool:
        return self.fastest_precision or self.compiled or self.fastest_loader


def tune(
    model: nn.Module, step_loss: StepLoss, dataset: Dataset, settings: FitSettings, wanted: Wanted
) -> SpeedChoice:
    """How to train `model` with these settings; neither it, its loss nor any random state changes.

    Every rank of a group must call this.
    """
    device = compute_device(settings.device)
    on_cpu = device.type == "cpu"
    probe = _probe_settings(settings, device)
    choice = SpeedChoice(precision=probe.precision, layout=probe.manner.layout)
    tried = ways(device) if wanted.fastest_precision else (way_of(choice),)
    threads = torch.get_num_threads()
    with ExitStack() as stack:
        stack.enter_context(_one_thread(device))
        steps = {}
        for name in tried:
            run = stack.enter_context(_copied(model, step_loss, dataset, _in_way(probe, name)))
            batch = next(run.plan.some_batches(1))
            steps[name] = _timed(run, batch, time.thread_time if on_cpu else time.perf_counter)
        found = race(steps, rounds=ROUNDS, agree=from_first_rank)
        prepare_s = from_first_rank(_prepare_seconds(run))
    precision, _, layout = found.winner.partition("+")
    choice = replace(
        choice,
        precision=precision,
        layout=layout,
        loader_workers=settings.loader_workers,
        step_ms={name: 1e3 * value for name, value in found.seconds.items()},
    )
    if wanted.fastest_loader:
        step_s = found.seconds[found.winner] / (threads if on_cpu else 1)
        workers = loader_workers(prepare_s, step_s, _spare_threads(device))
        choice = replace(choice, loader_workers=workers, prepare_ms=1e3 * prepare_s)
    if wanted.compiled:
        fault = _fault_of_compiling(model, step_loss, dataset, _in_way(probe, found.winner))
        choice = replace(choice, compiled=fault is None, not_compiled=fault)
    return choice


def settings_of(choice: SpeedChoice, settings: FitSettings) -> FitSettings:
    """The settings with what was chosen."""
    manner = replace(settings.manner, layout=choice.layout, compiled=choice.compiled)
    return replace(
        settings,
        precision=choice.precision,
        manner=manner,
        loader_workers=choice.loader_workers,
    )


def ways(device: torch.device) -> tuple[str, ...]:
    """What is tried on a device, `precision+layout`, the usual one first.

    On CUDA channels-last is what its kernels for lower precisions work in.
    """
    usual = resolve_precision("auto", device).name
    if device.type == "cuda":
        return (f"{usual}+channels_last", "fp32+channels_last")
    return ("fp32+channels_last", "bf16+channels_last", "fp32+contiguous", "bf16+contiguous")


def way_of(choice: SpeedChoice) -> str:
    """The name of a way to train."""
    return f"{choice.precision}+{choice.layout}"


def loader_workers(prepare_s: float, step_s: float, spare_threads: int) -> int:
    """The threads that make batches as fast as steps take them, given the time each takes."""
    if prepare_s < _NEGLIGIBLE * step_s:
        return 0
    needed = -(-_HEADROOM * prepare_s // step_s)
    return min(spare_threads, max(1, int(needed)))


def _spare_threads(device: torch.device) -> int:
    """On a GPU the job's CPU threads are free; on a CPU they train, so only others are."""
    threads = torch.get_num_threads()
    return threads if device.type == "cuda" else max(0, usable_cores() - threads)


def _probe_settings(settings: FitSettings, device: torch.device) -> FitSettings:
    """Small batches, of whole images, in pieces as small as those of the run."""
    piece = settings.batch_size // settings.micro_batches
    return replace(
        settings,
        precision=resolve_precision(
            "auto" if settings.precision == "fastest" else settings.precision, device
        ).name,
        batch_size=max(world_size(), min(piece, IMAGES * world_size())),
        micro_batches=1,
        accumulate=1,
        loader_workers=0,
        fidelity=FULL,
    )


def _in_way(settings: FitSettings, way: str) -> FitSettings:
    precision, _, layout = way.partition("+")
    manner = replace(settings.manner, layout=layout)
    return replace(settings, precision=precision, manner=manner)


@contextmanager
def _copied(
    model: nn.Module, step_loss: StepLoss, dataset: Dataset, settings: FitSettings
) -> Iterator[Run]:
    """A run of copies of a network and its loss."""
    with prepared(
        copy.deepcopy(model), dataset, settings, step_loss=copy.deepcopy(step_loss)
    ) as run:
        yield run


def _timed(run: Run, batch: Batch, clock: Callable[[], float]) -> Callable[[], float]:
    """One step; the end of `run_epoch` waits for the device."""

    def step() -> float:
        started = clock()
        run.stepper.run_epoch([batch], 0)
        return clock() - started

    return step


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """On a CPU have one thread do all, so that its processor time tells what a step costs.

    Other programs disturb that least; several threads of a busy machine wait for each other.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _prepare_seconds(run: Run) -> float:
    """What one thread takes to make a batch, the least of a few."""
    seconds = []
    for number in range(min(ROUNDS, len(run.plan))):
        started = time.perf_counter()
        run.plan.batch(number)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _fault_of_compiling(
    model: nn.Module, step_loss: StepLoss, dataset: Dataset, settings: FitSettings
) -> str | None:
    """Why a step cannot run compiled; None where it can.

    Whatever the compiler raises (none installed, a graph that breaks, a kernel that does not
    build), the network trains as well without it.
    """
    if world_size() > 1:
        # What averages gradients cuts a compiled graph, and nobody has measured what that gives.
        return "only done for trials of one worker"
    manner = replace(settings.manner, compiled=True)
    try:
        with _copied(model, step_loss, dataset, replace(settings, manner=manner)) as run:
            run.stepper.run_epoch(run.plan.some_batches(1), 0)
    except TrialError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return None
