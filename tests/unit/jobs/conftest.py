"""A dataset of a dozen images, an experiment on it, and a reporter that keeps what it hears."""

import numpy as np
import pytest

from automl.data.dataset import open_dataset
from automl.data.writing import DatasetWriter
from automl.jobs.context import JobContext
from automl.jobs.stopwatch import StopwatchHere
from automl.records import TrialConfig, Verdict
from automl.space.experiment import Experiment


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """Red squares on grey noise, and rare green ones; 8 train and 3 val images of 32 by 32."""
    root = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    with DatasetWriter(root, classes=("ground", "red", "green"), size=(32, 32)) as writer:
        for split, count in (("train", 8), ("val", 3), ("test", 2)):
            for number in range(count):
                image = rng.integers(60, 140, (32, 32, 3), dtype=np.uint8)
                mask = np.zeros((32, 32), dtype=np.uint8)
                for label, side in ((1, 12), (2, 4)):
                    top, left = rng.integers(0, 32 - side, 2)
                    place = slice(top, top + side), slice(left, left + side)
                    image[place][..., label - 1] += 90
                    mask[place] = label
                writer.add(split, f"{split}{number}", image, mask)
        writer.finish("squares", ignore_index=None)
    return open_dataset(root)


@pytest.fixture
def context(dataset, tmp_path):
    """Make the context of an experiment; sections replace the defaults."""

    def make(stopwatch=StopwatchHere(), **sections):  # noqa: B008  a frozen value
        plain = {
            "data": {"size": [32, 32]},
            "space": {"encoder": "mobilenetv3_small_050", "decoder_width": 16, "batch_size": 4},
            "train": {"epochs": 2, "device": "cpu"},
            "target": {"rounds": 3},
            **sections,
        }
        return JobContext(
            experiment=Experiment.from_json(plain),
            study_root=tmp_path / "study",
            dataset_root=dataset.root,
            threads=1,
            stopwatch=stopwatch,
        )

    return make


@pytest.fixture
def config():
    """Make a trial's sample; values replace those of a very small network."""

    def make(number=0, **values):
        small = {"encoder": "mobilenetv3_small_050", "decoder_width": 16, "batch_size": 4}
        return TrialConfig(number=number, seed=number, params={**small, **values})

    return make


class Recorder:
    """Keeps the messages; says stop after the epoch it is given."""

    def __init__(self, *, stop_at=None):
        self.messages = []
        self._stop_at = stop_at

    @property
    def kinds(self):
        return [message.kind for message in self.messages]

    def report(self, config, message):
        self.messages.append(message)
        stop = message.kind == "epoch" and message.epoch == self._stop_at
        return Verdict.STOP if stop else Verdict.CONTINUE


@pytest.fixture
def recorder():
    return Recorder
