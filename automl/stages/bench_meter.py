"""Measures what commands make of a network, in the runtime that is asked for (see `in_runtime`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from automl.agent_stopwatch import DeviceAgent
from automl.benchmark.job import Entry, Job, digest
from automl.benchmark.plan import Measure
from automl.benchmark.worker import measure_here
from automl.bundle.evaluation import counts_of
from automl.bundle.in_runtime import batch_of, form_of, open_labeller
from automl.bundle.runtimes import DEFAULT
from automl.compression.ladder import Quality, Speed
from automl.data.dataset import Dataset
from automl.jobs.int8_ladder import quality_of_measurements
from automl.jobs.scoring import quality_measurements
from automl.measurement.processor import cpu_model


def told_apart(runtime: str, timed_on: str | None) -> dict[str, object]:
    """What makes times others than those in the default runtime on this machine."""
    elsewhere = {} if timed_on is None else {"timed_on": timed_on}
    return {**elsewhere, **({} if runtime == DEFAULT else {"runtime": runtime})}


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchMeter:
    """Scores on val here; `rounds` calls of each file are timed in turns.

    They are in a process of its own, here or where there is an `agent` on its device.
    """

    name: str
    dataset: Dataset
    threads: int
    rounds: int
    agent: DeviceAgent | None = None

    def runtime(self) -> str:
        """The runtime's name."""
        return self.name

    def cpu(self) -> str:
        """The processor that times."""
        return cpu_model() if self.agent is None else self.agent.processor

    def quality(self, artifact: Path) -> Quality:
        """What a file scores on val in the runtime."""
        rows, info = self.dataset.split("val"), self.dataset.info
        counts = counts_of(
            open_labeller(artifact, self.name, info.size, threads=self.threads),
            (rows.image(row) for row in range(len(rows))),
            (rows.mask(row) for row in range(len(rows))),
            len(info.classes),
        )
        scored = quality_measurements(counts, info.classes, "val")
        return quality_of_measurements({m.metric: m.value for m in scored})

    def speed(self, float_artifact: Path, artifact: Path) -> Speed:
        """Time both files in interleaved rounds, kept on as many cores as there are threads."""
        files = {"float32": self._form(float_artifact), "int8": self._form(artifact)}
        shape = (*batch_of(self.name), *self.dataset.info.size, 3)
        entries = tuple(
            Entry(label=name, artifact=digest(content), runtime=self.name, shape=shape)
            for name, content in files.items()
        )
        job = Job(entries=entries, threads=self.threads, rounds=self.rounds)
        artifacts = {digest(content): content for content in files.values()}
        before, after = self._measure(job, artifacts).timings
        return Speed.of(before.stats, after.stats, threads=self.threads)

    @property
    def _measure(self) -> Measure:
        return measure_here if self.agent is None else self.agent.measure

    def _form(self, artifact: Path) -> bytes:
        return form_of(artifact.read_bytes(), self.name, self.dataset.info.size)
