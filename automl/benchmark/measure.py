"""Time a job's entries in this process. Needs no torch; `worker` gives it a process of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from automl.benchmark.device import this_device
from automl.benchmark.job import Artifacts, Entry, Job, Outcome, Timing
from automl.bundle.runtimes import RUNTIMES, Run, absence, versions
from automl.errors import BundleError, UsageError
from automl.measurement.affinity import pinned, usable_cores
from automl.measurement.contention import Watch
from automl.measurement.latency import process_clock, time_interleaved

_PATCH = 16


def measure(job: Job, artifacts: Artifacts) -> Outcome:
    """Time all entries in interleaved rounds, kept on as many cores as there are threads.

    The processor time of the whole process counts, since runtimes are free to compute in threads of
    their own; nothing else runs in it. Raises UsageError where the device has too few cores or not
    the runtime, or where a runtime cannot open or run an artifact.
    """
    cores = usable_cores()
    if job.threads > cores:
        raise UsageError(f"threads: at most the {cores} cores of this device, got {job.threads}")
    with pinned(job.threads) as kept_on:
        runs = [_opened(entry, job.threads, artifacts) for entry in job.entries]
        agreements = [
            _agreement(entry, run, artifacts) for entry, run in zip(job.entries, runs, strict=True)
        ]
        calls = {
            str(i): _call(e, r) for i, (e, r) in enumerate(zip(job.entries, runs, strict=True))
        }
        watch = Watch()
        stats = time_interleaved(
            calls, rounds=job.rounds, warmup=job.warmup, seed=job.seed, clock=process_clock
        )
        contention = watch.read()
    return Outcome(
        timings=tuple(
            Timing(stats=stats[str(i)], agreement=agreement)
            for i, agreement in enumerate(agreements)
        ),
        device=this_device(),
        cores=kept_on,
        contention=contention,
    )


def picture(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Images of coloured patches, always the same for a shape, no two of a batch alike."""
    height, width = shape[-3], shape[-2]
    coarse = (*shape[:-3], height // _PATCH + 1, width // _PATCH + 1, shape[-1])
    patches = np.random.default_rng(0).integers(0, 256, coarse, dtype=np.uint8)
    fine = patches.repeat(_PATCH, axis=-3).repeat(_PATCH, axis=-2)
    return np.ascontiguousarray(fine[..., :height, :width, :])


def _opened(entry: Entry, threads: int, artifacts: Artifacts) -> Run:
    reason = absence(entry.runtime, versions())
    if reason is not None:
        raise UsageError(f"{entry.runtime}: {reason}")
    try:
        return RUNTIMES[entry.runtime](artifacts[entry.artifact], threads=threads)
    except BundleError as error:
        raise BundleError(f"{entry.label}: {error}") from error


def _call(entry: Entry, run: Run) -> Callable[[], object]:
    images = picture(entry.shape)
    return lambda: run(images)


def _agreement(entry: Entry, run: Run, artifacts: Artifacts) -> float:
    """The share of pixels for which a runtime gives what ONNX Runtime gives."""
    images = picture(entry.shape)
    try:
        masks = np.array(run(images))
    except Exception as error:  # the runtimes' exceptions share no narrower base
        shape = " x ".join(map(str, images.shape))
        raise BundleError(f"{entry.label}: cannot be run on {shape}: {error}") from error
    if entry.runtime == "onnxruntime":
        return 1.0
    expected = RUNTIMES["onnxruntime"](artifacts[entry.artifact], threads=1)(images)
    return float((masks == expected).mean()) if masks.shape == expected.shape else 0.0
