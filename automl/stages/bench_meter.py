"""Measures the rungs of `automl quantize`, in the runtime that is asked for.

OpenVINO cannot read the resizes around a bundle's network, so there the form of `batched` is scored
and timed: at the network's own size it computes the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from automl.benchmark.job import Entry, Job, digest
from automl.benchmark.worker import measure_apart
from automl.bundle.batched import batched
from automl.bundle.evaluation import counts_of
from automl.bundle.runtimes import READS_BUNDLES, RUNTIMES, Run
from automl.compression.ladder import Quality, Speed
from automl.data.dataset import Dataset
from automl.jobs.int8_ladder import quality_of_measurements
from automl.jobs.scoring import quality_measurements


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchMeter:
    """Scores on val here; times in a process of its own, `rounds` calls of each file in turns."""

    name: str
    dataset: Dataset
    threads: int
    rounds: int

    def runtime(self) -> str:
        """The runtime's name."""
        return self.name

    def quality(self, artifact: Path) -> Quality:
        """What a file scores on val in the runtime."""
        rows, classes = self.dataset.split("val"), self.dataset.info.classes
        counts = counts_of(
            _Runs(RUNTIMES[self.name](self._form(artifact), threads=self.threads), self._batch),
            (rows.image(row) for row in range(len(rows))),
            (rows.mask(row) for row in range(len(rows))),
            len(classes),
        )
        scored = quality_measurements(counts, classes, "val")
        return quality_of_measurements({m.metric: m.value for m in scored})

    def speed(self, float_artifact: Path, artifact: Path) -> Speed:
        """Time both files in interleaved rounds, kept on as many cores as there are threads."""
        files = {"float32": self._form(float_artifact), "int8": self._form(artifact)}
        shape = (*self._batch, *self.dataset.info.size, 3)
        entries = tuple(
            Entry(label=name, artifact=digest(content), runtime=self.name, shape=shape)
            for name, content in files.items()
        )
        job = Job(entries=entries, threads=self.threads, rounds=self.rounds)
        artifacts = {digest(content): content for content in files.values()}
        before, after = measure_apart(job, artifacts, seconds=float("inf")).timings
        return Speed.of(before.stats, after.stats, threads=self.threads)

    @property
    def _batch(self) -> tuple[int, ...]:
        return () if self.name in READS_BUNDLES else (1,)

    def _form(self, artifact: Path) -> bytes:
        content = artifact.read_bytes()
        if self.name in READS_BUNDLES:
            return content
        return batched(content, size=self.dataset.info.size, batch=1)


@dataclass(frozen=True, slots=True)
class _Runs:
    """A runtime's function as what is scored: one image in, one mask out."""

    function: Run
    batch: tuple[int, ...]

    def run(self, image_hwc: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Label one image; the mask is copied, as runtimes use its memory again."""
        masks = self.function(image_hwc.reshape(*self.batch, *image_hwc.shape))
        return np.array(masks).reshape(image_hwc.shape[:2])
