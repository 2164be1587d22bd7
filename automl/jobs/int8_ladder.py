"""Climb the INT8 ladder of one network; every rung is on disk, so a killed run repeats none.

A rung's folder holds its files and, in `rung.json`, what it scored and how long it took; the folder
appears whole. `ladder.json`, the end of the ladder, is written last by whoever climbs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from automl.compression.ladder import (
    Gates,
    Ladder,
    Measured,
    Quality,
    Rung,
    Speed,
    climb,
    conclusion,
    judge,
)
from automl.data.dataset import Dataset
from automl.errors import TrialError
from automl.jobs.candidates import ARTIFACT, CORE
from automl.jobs.int8_rungs import RUNG_KINDS, Material
from automl.records import Normalisation, from_json, to_json
from automl.store.atomic import staged_folder, write_json
from automl.training.evaluation import normalise

_RUNG = "rung.json"
LADDER = "ladder.json"


class Meter(Protocol):
    """Measures wrapped networks in one runtime."""

    def runtime(self) -> str:
        """The runtime's name."""

    def cpu(self) -> str:
        """The processor that it times on."""

    def quality(self, artifact: Path) -> Quality:
        """What a file scores on val."""

    def speed(self, float_artifact: Path, artifact: Path) -> Speed:
        """Time a file in turns with that in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderTask:
    """A network in float32 (`float_artifact`, `core.onnx` beside it), and the rungs to try on it.

    `wrap` puts into its path what serving needs, around the core beside it.
    """

    network: str
    folder: Path
    float_artifact: Path
    rungs: tuple[str, ...]
    material: Material
    wrap: Callable[[Path], None]
    meter: Meter
    gates: Gates


def climb_ladder(task: LadderTask, hear: Callable[[Rung], None]) -> Ladder:
    """Try rungs until one passes both gates; `hear` is told of each, also of those done before."""
    float_quality = task.meter.quality(task.float_artifact)

    def attempt(name: str) -> Rung:
        rung = _attempt(task, name, float_quality)
        hear(rung)
        return rung

    layouts = {name: kind.layout for name, kind in RUNG_KINDS.items()}
    tried, kept = climb(task.rungs, attempt, task.gates, layouts=layouts)
    return Ladder(
        network=task.network,
        runtime=task.meter.runtime(),
        float_quality=float_quality,
        float_size_mb=_size_mb(task.float_artifact),
        rungs=tried,
        chosen=None if kept is None else kept.name,
        reason=conclusion(tried, kept),
    )


def read_ladder(file: Path) -> Ladder | None:
    """A finished ladder; None where there is none yet."""
    if not file.exists():
        return None
    return from_json(Ladder, json.loads(file.read_text(encoding="utf-8")))


def calibration_images(
    dataset: Dataset, normalisation: Normalisation, most: int
) -> Iterator[NDArray[np.float32]]:
    """Training images, evenly spread, as the bare network takes them: float32 (1, 3, H, W)."""
    split = dataset.split("train")
    count = min(most, len(split))
    for row in np.linspace(0, len(split) - 1, count).round().astype(int):
        image_nhwc = torch.from_numpy(np.array(split.image(int(row)))[None])
        yield normalise(image_nhwc, normalisation).contiguous().numpy()


def quality_of_measurements(values: Mapping[str, float]) -> Quality:
    """The part of a file's scores that the gates look at."""
    prefix = "iou."
    iou = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
    return Quality(miou=values["miou"], iou=iou)


def _attempt(task: LadderTask, name: str, float_quality: Quality) -> Rung:
    file = task.folder / name / _RUNG
    if file.exists():
        return from_json(Rung, json.loads(file.read_text(encoding="utf-8")))
    task.folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with staged_folder(task.folder / name) as staged:
        try:
            rung = _made_and_judged(task, name, float_quality, staged)
        except TrialError as error:
            rung = Rung(name=name, outcome="refused", reason=str(error))
        rung = replace(rung, seconds=time.monotonic() - started)
        write_json(staged / _RUNG, to_json(rung))
    return rung


def _made_and_judged(task: LadderTask, name: str, float_quality: Quality, staged: Path) -> Rung:
    recipe = RUNG_KINDS[name].make(task.material, staged / CORE)
    artifact = staged / ARTIFACT
    task.wrap(artifact)
    measured = Measured(
        float_quality=float_quality,
        float_size_mb=_size_mb(task.float_artifact),
        quality=task.meter.quality(artifact),
        speed=task.meter.speed(task.float_artifact, artifact),
        size_mb=_size_mb(artifact),
        recipe=recipe,
    )
    return judge(name, measured, task.gates)


def _size_mb(path: Path) -> float:
    return path.stat().st_size / 1e6
