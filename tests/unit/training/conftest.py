"""A dataset and networks small enough to train in milliseconds."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from automl.data.dataset import open_dataset
from automl.data.writing import DatasetWriter
from automl.records import Verdict
from automl.training.losses import CombinedLoss
from automl.training.settings import FitSettings
from automl.training.steps import SupervisedLoss


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """Red and green squares on grey noise; 10 train and 7 val images of 16 by 16."""
    root = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    with DatasetWriter(root, classes=("ground", "red", "green"), size=(16, 16)) as writer:
        for split, count in (("train", 10), ("val", 7), ("test", 2)):
            for number in range(count):
                image = rng.integers(60, 140, (16, 16, 3), dtype=np.uint8)
                mask = np.zeros((16, 16), dtype=np.uint8)
                for label in (1, 2):
                    top, left = rng.integers(0, 10, 2)
                    place = slice(top, top + 6), slice(left, left + 6)
                    image[place][..., label - 1] += 90
                    mask[place] = label
                mask[: number % 4] = 255
                writer.add(split, f"{split}{number}", image, mask)
        writer.finish("squares", ignore_index=255)
    return open_dataset(root)


class TinyNet(nn.Module):
    """Two convolutions with dropout between them; no norm, so that batches do not mix."""

    def __init__(self, *, width=8, dropout=0.0, norm=False, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body = nn.Conv2d(3, width, 3, padding=1)
            self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
            self.dropout = nn.Dropout(dropout)
            self.head = nn.Conv2d(width, 3, 1)

    def forward(self, images_nchw):
        return self.forward_with_features(images_nchw)[0]

    def forward_with_features(self, images_nchw):
        features_nchw = self.dropout(torch.relu(self.norm(self.body(images_nchw))))
        return self.head(features_nchw), features_nchw


class StagedEncoder(nn.Module):
    """Three maps, each half as large as the one before and behind a batch norm."""

    def __init__(self):
        super().__init__()
        widths = (3, 4, 6, 8)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise(widths)
        )

    def forward(self, images_nchw):
        maps = []
        for stage in self.stages:
            images_nchw = stage(images_nchw)
            maps.append(images_nchw)
        return maps


class StagedNet(nn.Module):
    """An encoder of three stages, a decoder that adds its maps up, and a head."""

    def __init__(self, *, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = StagedEncoder()
            self.decoder = nn.ModuleList(nn.Conv2d(width, 5, 1) for width in (4, 6, 8))
            self.head = nn.Conv2d(5, 3, 1)

    def forward(self, images_nchw):
        return self.forward_with_maps(images_nchw)[0]

    def forward_with_maps(self, images_nchw):
        maps = self.encoder(images_nchw)
        size = images_nchw.shape[-2:]
        sides = [
            nn.functional.interpolate(lateral(features), size=size)
            for lateral, features in zip(self.decoder, maps, strict=True)
        ]
        return self.head(torch.relu(sum(sides))), maps


@pytest.fixture
def tiny_net():
    return TinyNet


@pytest.fixture
def staged_net():
    return StagedNet


@pytest.fixture
def supervised():
    return SupervisedLoss(CombinedLoss(0.5, 2.0))


@pytest.fixture
def settings_for(dataset):
    def build(**changes):
        values = {
            "epochs": 3,
            "normalisation": dataset.info.normalisation,
            "batch_size": 4,
            "learning_rate": 1e-2,
            "augmentation": "none",
            "device": "cpu",
        }
        return FitSettings(**{**values, **changes})

    return build


class Recorder:
    """Keeps what it is told; stops or raises after the epochs it is given."""

    def __init__(self, *, stop_at=None, raise_at=None):
        self.heard = []
        self._stop_at = stop_at
        self._raise_at = raise_at

    def report(self, epoch, metrics):
        self.heard.append((epoch, dict(metrics)))
        if epoch == self._raise_at:
            raise KeyboardInterrupt
        return Verdict.STOP if epoch == self._stop_at else Verdict.CONTINUE


@pytest.fixture
def recorder():
    return Recorder
