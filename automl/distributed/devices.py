"""Whether trials run on the GPUs of a Ray cluster."""

from __future__ import annotations

import ray

from automl.space.training import TrainSettings


def trains_on_gpu(train: TrainSettings) -> bool:
    """`cuda` asks for it; `auto` takes the GPUs where the cluster has any."""
    has_gpus = bool(ray.cluster_resources().get("GPU", 0))
    return train.device == "cuda" or (train.device == "auto" and has_gpus)
