"""The environment of this process, as far as it can change a training's numbers."""

from __future__ import annotations

import platform

import torch

from automl.bundle.manifest import package_versions
from automl.errors import UsageError
from automl.measurement.processor import cpu_model
from automl.space.training import TrainSettings
from automl.store.environment import Environment
from automl.training.ranks import compute_device

#: What takes part in a training, from an image to its updated weights.
TRAINING_PACKAGES = (
    "automl",
    "torch",
    "timm",
    "segmentation-models-pytorch",
    "torch-pruning",
    "numpy",
    "albumentations",
    "opencv-python-headless",
)


def environment_here(train: TrainSettings, *, threads: int, runs_on: str) -> Environment:
    """What a trial that starts in this process would train on."""
    return Environment(
        python=platform.python_version(),
        packages=package_versions(TRAINING_PACKAGES),
        cpu=f"{cpu_model()} ({torch.backends.cpu.get_cpu_capability()})",
        device=_device(train),
        threads=threads,
        runs_on=runs_on,
    )


def _device(train: TrainSettings) -> str:
    try:
        device = compute_device(train.device)
    except UsageError:
        # A driver without a GPU may hand trials to nodes that have one.
        return train.device
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return device.type
