"""Where exported files are timed: in the process that asks, or where a backend knows better.

Needs no torch: a machine that only times starts quickly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from automl.bundle.in_runtime import clock_of, open_call
from automl.measurement.latency import LatencyStats, time_interleaved
from automl.measurement.processor import cpu_model


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How to time: blank images of `size` (height, width), the runtime, its threads, the rounds."""

    size: tuple[int, int]
    threads: int
    rounds: int
    runtime: str = "onnxruntime"
    warmup: int = 3
    seed: int = 0


class Stopwatch(Protocol):
    """Times exported files; all of one call side by side, on one machine."""

    def describe(self) -> str:
        """Where it times, for the user."""

    def cpu(self) -> str:
        """The processor that it times on; times of two are never compared."""

    def time(self, artifacts: Mapping[str, Path], timing: Timing) -> dict[str, LatencyStats]:
        """Time each file, by name, in rounds interleaved with the others."""


@dataclass(frozen=True, slots=True)
class StopwatchHere:
    """Times in the process that asks, whatever else the machine does meanwhile."""

    def describe(self) -> str:
        """Where it times, for the user."""
        return "timed in each trial's own process"

    def cpu(self) -> str:
        """The processor of this machine."""
        return cpu_model()

    def time(self, artifacts: Mapping[str, Path], timing: Timing) -> dict[str, LatencyStats]:
        """Time each file here."""
        return time_files(artifacts, timing)


def time_files(artifacts: Mapping[str, Path], timing: Timing) -> dict[str, LatencyStats]:
    """Time exported files in this process, a blank image of the network's own size a call.

    Raises BundleError where the runtime is absent, or cannot open one.
    """
    calls = {
        name: open_call(artifact, timing.runtime, timing.size, threads=timing.threads)
        for name, artifact in artifacts.items()
    }
    return time_interleaved(
        calls,
        rounds=timing.rounds,
        warmup=timing.warmup,
        seed=timing.seed,
        clock=clock_of(timing.runtime),
    )
