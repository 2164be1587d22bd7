"""What is asked of a measuring process, and what it answers. Needs no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from automl.benchmark.device import Device
from automl.measurement.contention import Contention
from automl.measurement.latency import LatencyStats

#: Artifacts by their SHA-256: the contents of ONNX files.
Artifacts = Mapping[str, bytes]

MAX_ROUNDS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing to time: an artifact by its SHA-256, a runtime, and the shape of its uint8 input.

    `label` is its name in messages.
    """

    label: str
    artifact: str
    runtime: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 3 <= len(self.shape) <= 4 or not all(1 <= side <= 65536 for side in self.shape):
            raise ValueError(f"a shape has 3 or 4 sides of 1 to 65536, got {self.shape}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Entries to time in turn, all with the same number of threads."""

    entries: tuple[Entry, ...]
    threads: int
    rounds: int
    warmup: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.entries or self.threads < 1 or self.warmup < 0:
            raise ValueError(
                "a job needs at least 1 entry, 1 thread and 0 warm-up calls, "
                f"got {len(self.entries)}, {self.threads} and {self.warmup}"
            )
        if not 1 <= self.rounds <= MAX_ROUNDS:
            raise ValueError(f"rounds must be 1 to {MAX_ROUNDS}, got {self.rounds}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The time of one entry; `agreement` is the share of pixels that ONNX Runtime gives, too."""

    stats: LatencyStats
    agreement: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The timings of a job's entries, in their order, and on what they were made.

    `cores` are those that the process was kept on, none where it could not be.
    """

    timings: tuple[Timing, ...]
    device: Device
    cores: tuple[int, ...]
    contention: Contention


def digest(content: bytes) -> str:
    """The SHA-256 of an artifact, in hex."""
    return hashlib.sha256(content).hexdigest()
