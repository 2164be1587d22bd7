"""The parameters of the optimizer's steps."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from automl.space.limits import Limits

STEPS: Mapping[str, Limits] = MappingProxyType(
    {
        "optimizer": Limits(
            kind="text",
            options=("adamw", "sgd"),
            description="Optimizer; sgd has Nesterov momentum 0.9.",
        ),
        "learning_rate": Limits(
            kind="float",
            above=0.0,
            high=10.0,
            description="Peak learning rate, after the warm-up.",
        ),
        "weight_decay": Limits(
            kind="float",
            low=0.0,
            high=10.0,
            description="Weight decay; norms and biases have none.",
        ),
        "batch_size": Limits(
            kind="int",
            low=1,
            high=4096,
            description="Images in a batch, over all workers of the trial.",
        ),
    }
)
