"""Studies whose data, backend and candidates are made up on the spot."""

from types import SimpleNamespace

import numpy as np
import pytest

from automl.jobs.stopwatch import StopwatchHere
from automl.records import (
    Candidate,
    DatasetInfo,
    Lineage,
    Measurement,
    Normalisation,
    TrialConfig,
    TrialResult,
    TrialStatus,
)
from automl.space.experiment import Experiment
from automl.stages.study import Study
from automl.store.layout import StudyFolder

NORMALISATION = Normalisation(mean=(120.0, 120.0, 120.0), std=(60.0, 60.0, 60.0))

INFO = DatasetInfo(
    name="toy",
    task="segmentation",
    classes=("ground", "crack"),
    size=(32, 64),
    counts={"train": 6, "val": 3, "test": 2},
    class_pixel_share=(0.9, 0.1),
    class_images={"train": (6, 3), "val": (3, 1), "test": (2, 1)},
    normalisation=NORMALISATION,
    fingerprint="f" * 64,
)


class FakeSplit:
    """Images, each of one grey level, and masks with the labels that are given."""

    def __init__(self, labels_by_row):
        self._labels = labels_by_row

    def __len__(self):
        return len(self._labels)

    def image(self, row):
        return np.full((32, 64, 3), row, dtype=np.uint8)

    def mask(self, row):
        mask = np.zeros((32, 64), dtype=np.uint8)
        for column, label in enumerate(self._labels[row]):
            mask[0, column] = label
        return mask


class FakeBackend:
    """Answers each job at once, from a table or from the job itself."""

    def __init__(self, answers=None):
        self.answers = answers
        self.watch = StopwatchHere()
        self.jobs = []

    def threads_per_job(self):
        return 2

    def stopwatch(self):
        return self.watch

    def map_jobs(self, job, items):
        for item in items:
            self.jobs.append(item)
            yield item, job(item) if self.answers is None else self.answers(item)


class Scribe:
    """A narrator that writes down what it is told."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)

    def on_message(self, config, message, verdict):
        pass

    def on_promoted(self, config, epoch):
        pass

    def on_snapshot(self, snapshot):
        pass


@pytest.fixture
def study(tmp_path):
    """Make a study; sections replace the experiment's defaults."""

    def make(**sections):
        plain = {"space": {"alpha": {"float": [0.0, 1.0], "default": 0.5}}, **sections}
        splits = {"train": [[0]], "val": [[0], [0, 1], [0, 255]], "test": [[0, 1], [0]]}
        dataset = SimpleNamespace(
            info=INFO, split=lambda name: FakeSplit(splits[name]), root=tmp_path / "data"
        )
        return Study(
            experiment=Experiment.from_json(plain),
            folder=StudyFolder(tmp_path / "study"),
            dataset=dataset,
            backend=FakeBackend(),
            narrator=Scribe(),
        )

    (tmp_path / "study").mkdir()
    return make


@pytest.fixture
def split_of():
    return FakeSplit


@pytest.fixture
def backend_of():
    return FakeBackend


@pytest.fixture
def result():
    """Make an ended trial; None for scores leaves it without a checkpoint."""

    def make(number, miou, latency_ms=10.0, *, status=TrialStatus.COMPLETED, reason=None, epochs=3):
        config = TrialConfig(number=number, seed=number, params={"alpha": number / 100})
        measurements = [Measurement(metric="latency_ms", value=latency_ms)]
        if miou is not None:
            measurements.insert(0, Measurement(metric="miou", value=miou, split="val"))
        return TrialResult(
            config=config,
            status=status,
            epochs=0 if miou is None else epochs,
            measurements=tuple(measurements),
            checkpoint=None if miou is None else f"trials/{config.trial_id}/checkpoint",
            reason=reason,
            seconds=30.0,
        )

    return make


@pytest.fixture
def candidate():
    """Make a candidate, scored on val and timed, of a trial (0: the default)."""

    def make(name, miou, latency_ms, *, trial=1, kind="trial", precision="fp32", size_mb=2.0):
        quality = {"miou": miou, "dice": miou, "pixel_accuracy": miou}
        costs = {
            "params_m": 1.0,
            "macs_g": 0.25,
            "size_mb": size_mb,
            "latency_ms": latency_ms,
            "latency_wall_p50_ms": latency_ms * 1.1,
            "latency_wall_p95_ms": latency_ms * 1.5,
        }
        return Candidate(
            candidate_id=name,
            artifact=f"candidates/{name}/model.onnx",
            lineage=Lineage(trial_id=f"{trial:04d}-abcdef", kind=kind, precision=precision),
            params={"encoder": "resnet18", "decoder": "fpn", "decoder_width": 64},
            normalisation=NORMALISATION,
            measurements=(
                *(Measurement(metric=m, value=v, split="val") for m, v in quality.items()),
                *(Measurement(metric=m, value=v) for m, v in costs.items()),
            ),
        )

    return make
