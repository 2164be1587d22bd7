"""Several trials on one GPU: how many, and that none takes a neighbour's memory."""

from __future__ import annotations

import json
from pathlib import Path

import ray
import torch

from automl.jobs.context import JobContext
from automl.jobs.peak_memory import peak_memory
from automl.planning.groups import Group
from automl.space.gpu_share import memory_fraction, smallest_share
from automl.store.atomic import write_json
from automl.training.memory import CudaMemory

_MIB = 2**20


def narrowed(group: Group, context: JobContext) -> tuple[Group, str | None]:
    """The group with the share that `train.gpu_share: auto` measures, and a line that says so.

    What was measured is a fact of the study, in its folder; None where nothing was.
    """
    if group.gpus == 0.0 or context.experiment.train.gpu_share != "auto":
        return group, None
    file = context.folder.gpu_share_file
    if not file.exists():
        task = ray.remote(num_cpus=1, num_gpus=1, max_retries=1)(_measure)
        try:
            peak_bytes, total_bytes = ray.get(task.remote(context))
        except ray.exceptions.RayError as fault:
            why = str(fault).strip().splitlines()[-1]
            return group.with_gpus(1.0), f"gpu share  1: it could not be measured: {why}"
        share = smallest_share(peak_bytes, total_bytes)
        write_json(file, {"share": share, "peak_bytes": peak_bytes, "total_bytes": total_bytes})
    kept = read_share(file)
    line = (
        f"gpu share  {kept['share']:g} of a GPU a trial: the networks measured took up to "
        f"{kept['peak_bytes'] / _MIB:.0f} of {kept['total_bytes'] / _MIB:.0f} MiB"
    )
    return group.with_gpus(kept["share"]), line


def read_share(file: Path) -> dict[str, float]:
    """What was measured for a study."""
    found: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))
    return found


def cap_memory(share: float) -> None:
    """Let this process take no more of its GPU's memory than its share; a CPU has no such cap.

    A trial that asks for more runs out of memory, and goes on in smaller pieces. Where there is
    nothing to share, CUDA is not touched: a process that waits for its workers needs no context.
    """
    if 0 < share < 1 and torch.cuda.is_available():
        total = CudaMemory().total_bytes()
        torch.cuda.set_per_process_memory_fraction(memory_fraction(share, total))


def _measure(context: JobContext) -> tuple[int, int]:
    """Runs where a GPU is its own."""
    meter = CudaMemory()
    return peak_memory(context, meter), meter.total_bytes()
