"""Bundles side by side: what is timed, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from automl.benchmark.device import Device
from automl.benchmark.job import Entry, Job, Outcome, Timing, digest
from automl.benchmark.measure import picture
from automl.bundle.batched import MIN_AGREEMENT, batched, check_batched
from automl.bundle.loading import load_sound
from automl.bundle.runtimes import READS_BUNDLES, absence
from automl.errors import BundleError, UsageError
from automl.measurement.latency import LatencyStats

#: Times a job with its artifacts, here or elsewhere.
Measure = Callable[[Job, dict[str, bytes]], Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What is combined with each bundle; `rounds` is the number of timed calls of each."""

    runtimes: tuple[str, ...]
    threads: tuple[int, ...]
    batches: tuple[int, ...]
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A sound bundle; `size` is its network's (height, width)."""

    name: str
    path: Path
    content: bytes = field(repr=False)
    size: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One combination, measured.

    Ratios are those of medians to the first bundle's in the first runtime, with as many threads and
    as large a batch.
    """

    bundle: str
    path: str
    artifact: str
    runtime: str
    threads: int
    batch: int
    timing: Timing
    cpu_ratio: float
    wall_ratio: float

    @property
    def images_per_s(self) -> float:
        """Throughput by the median wall time."""
        return 1e3 * self.batch / self.timing.stats.p50_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All rows, the outcome of each number of threads, and what people should know of them."""

    rows: tuple[Row, ...]
    outcomes: tuple[tuple[int, Outcome], ...]
    rounds: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Combination:
    subject: Subject
    runtime: str
    batch: int
    entry: Entry


def load_subjects(paths: Sequence[Path]) -> list[Subject]:
    """Read bundles and check their files; raises BundleError. Those of one name are numbered."""
    subjects: list[Subject] = []
    for path in paths:
        sound = load_sound(path)
        name = path.resolve().name
        before = sum(subject.path.resolve().name == name for subject in subjects)
        subjects.append(
            Subject(
                name=f"{name} ({before + 1})" if before else name,
                path=path,
                content=sound.model(),
                size=sound.manifest.input.size,
            )
        )
    return subjects


def usable_runtimes(names: Sequence[str], device: Device) -> tuple[tuple[str, ...], list[str]]:
    """Those of the runtimes that the device has, and a note for each other one.

    Raises UsageError where none is left.
    """
    reasons = {name: absence(name, device.runtimes) for name in names}
    usable = tuple(name for name, reason in reasons.items() if reason is None)
    notes = [f"{name}: {reason}" for name, reason in reasons.items() if reason is not None]
    if not usable:
        raise UsageError("no runtime to measure in: " + "; ".join(notes))
    return usable, notes


def check_threads(threads: Sequence[int], device: Device) -> None:
    """Raise UsageError where the device has too few cores."""
    if max(threads) > device.cores:
        raise UsageError(
            f"--threads: at most the {device.cores} cores of the device, got {max(threads)}"
        )


def benchmark(
    subjects: Sequence[Subject],
    grid: Grid,
    measure: Measure,
    *,
    say: Callable[[str], None],
) -> Report:
    """Time every bundle in every runtime with each number of threads and each batch.

    What has the same number of threads takes turns. Raises UsageError where something of it cannot
    be measured.
    """
    artifacts: dict[str, bytes] = {}
    combinations = [
        _combination(subject, runtime, batch, artifacts)
        for batch in grid.batches
        for subject in subjects
        for runtime in grid.runtimes
    ]
    entries = tuple(each.entry for each in combinations)
    rows: list[Row] = []
    outcomes: list[tuple[int, Outcome]] = []
    for threads in grid.threads:
        say(f"timing {len(entries)} rows with {_count(threads)}, {grid.rounds} rounds")
        outcome = measure(Job(entries=entries, threads=threads, rounds=grid.rounds), artifacts)
        outcomes.append((threads, outcome))
        rows += _rows(combinations, threads, outcome)
    return Report(
        rows=tuple(rows),
        outcomes=tuple(outcomes),
        rounds=grid.rounds,
        notes=(*_disagreements(rows), *_disturbances(outcomes)),
    )


def _combination(
    subject: Subject, runtime: str, batch: int, artifacts: dict[str, bytes]
) -> _Combination:
    content, shape = _artifact(subject, runtime, batch)
    name = digest(content)
    artifacts[name] = content
    label = f"{subject.name} in {runtime}, batch {batch}"
    entry = Entry(label=label, artifact=name, runtime=runtime, shape=shape)
    return _Combination(subject, runtime, batch, entry)


def _artifact(subject: Subject, runtime: str, batch: int) -> tuple[bytes, tuple[int, ...]]:
    """The bundle's own file where it can be measured, else its form for batches, verified."""
    if batch == 1 and runtime in READS_BUNDLES:
        return subject.content, (*subject.size, 3)
    shape = (batch, *subject.size, 3)
    try:
        check_batched(subject.content, picture(shape))
        return batched(subject.content, size=subject.size, batch=batch), shape
    except BundleError as error:
        raise BundleError(f"{subject.path}: batch {batch}: {error}") from error


def _rows(combinations: Sequence[_Combination], threads: int, outcome: Outcome) -> list[Row]:
    references: dict[int, LatencyStats] = {}
    rows = []
    for each, timing in zip(combinations, outcome.timings, strict=True):
        reference = references.setdefault(each.batch, timing.stats)
        rows.append(
            Row(
                bundle=each.subject.name,
                path=str(each.subject.path),
                artifact=each.entry.artifact,
                runtime=each.runtime,
                threads=threads,
                batch=each.batch,
                timing=timing,
                cpu_ratio=timing.stats.cpu_p50_ms / reference.cpu_p50_ms,
                wall_ratio=timing.stats.p50_ms / reference.p50_ms,
            )
        )
    return rows


def _disagreements(rows: Sequence[Row]) -> list[str]:
    """Runtimes that compute something else; told once a bundle and runtime."""
    worst: dict[tuple[str, str], float] = {}
    for row in rows:
        key = (row.bundle, row.runtime)
        worst[key] = min(row.timing.agreement, worst.get(key, 1.0))
    return [
        f"{bundle} in {runtime}: {agreement:.2%} of the pixels are those of onnxruntime"
        for (bundle, runtime), agreement in worst.items()
        if agreement < MIN_AGREEMENT
    ]


def _disturbances(outcomes: Sequence[tuple[int, Outcome]]) -> list[str]:
    notes = [(threads, outcome.contention.note(threads)) for threads, outcome in outcomes]
    return [f"{_count(threads)}: {note}" for threads, note in notes if note is not None]


def _count(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"
