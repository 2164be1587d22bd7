"""The part of `throughput.py` for a GPU: precisions, compiled or not; speed, memory, busyness."""

from __future__ import annotations

import copy
import statistics
import time
from dataclasses import replace
from itertools import islice

import torch

from automl.data.dataset import Dataset
from automl.jobs.network import build_network
from automl.jobs.settings import fit_settings, supervised_loss
from automl.space.parameters import TrialParameters
from automl.space.training import TrainSettings
from automl.training.loop import prepared
from automl.training.manner import Manner
from automl.training.settings import FitSettings

_WARM_UP, _TIMED = 8, 24


def measure_cuda_steps(dataset: Dataset, params: TrialParameters, rounds: int) -> None:
    """Each in turn, a few batches of real loading a round; ratios to fp32 that is not compiled."""
    train = TrainSettings(device="cuda", epochs=2)
    settings = fit_settings(params, train, normalisation=dataset.info.normalisation, seed=0)
    model = build_network(params, dataset.info, seed=0)
    rates: dict[str, list[float]] = {}
    memory_mb: dict[str, float] = {}
    for _ in range(rounds):
        for precision in ("fp32", "auto"):
            for compiled in (False, True):
                name = f"{'AMP' if precision == 'auto' else 'fp32'}{', compiled' * compiled}"
                manner = Manner(compiled=compiled)
                ours = replace(settings, precision=precision, manner=manner)
                rate, peak_mb = _steps(copy.deepcopy(model), dataset, params, ours)
                rates.setdefault(name, []).append(rate)
                memory_mb[name] = peak_mb
    base = rates["fp32"]
    for name, found in rates.items():
        ratios = [own / other for own, other in zip(found, base, strict=True)]
        print(
            f"  {name:<15} {statistics.median(found):7.0f} images/s, "
            f"{statistics.median(ratios):.2f} x fp32, peak {memory_mb[name]:.0f} MB"
        )
    print(f"  busy in the last second: {_utilisation()}")


def _steps(
    model: torch.nn.Module, dataset: Dataset, params: TrialParameters, settings: FitSettings
) -> tuple[float, float]:
    """Images a second of a run's own steps, loading included, and the peak of memory."""
    torch.cuda.reset_peak_memory_stats()
    loss = supervised_loss(params, dataset.info)
    with prepared(model, dataset, settings, step_loss=loss) as run:
        batches = run.plan.batches()
        run.stepper.run_epoch(islice(batches, _WARM_UP), 0)
        torch.cuda.synchronize()
        started = time.perf_counter()
        run.stepper.run_epoch(islice(batches, _TIMED), 0)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    return _TIMED * params.batch_size / seconds, torch.cuda.max_memory_allocated() / 1e6


def _utilisation() -> str:
    """NVIDIA's own number; it needs a package that torch does not bring along."""
    try:
        return f"{torch.cuda.utilization()} % (NVML)"
    except (ImportError, ModuleNotFoundError) as error:
        return f"unknown ({error})"
