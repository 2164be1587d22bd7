"""The parameters of the optimizer's steps."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from automl.space.limits import Limits

STEPS: Mapping[str, Limits] = MappingProxyType(
    {
        "optimizer": Limits(
            kind="text",
            options=("adamw", "sgd", "lion"),
            description="Optimizer; sgd has Nesterov momentum 0.9, lion wants a tenth to a third "
            "of adamw's learning rate.",
        ),
        "learning_rate": Limits(
            kind="float",
            above=0.0,
            high=10.0,
            description="Peak learning rate, after the warm-up.",
        ),
        "schedule": Limits(
            kind="text",
            options=(
                "cosine",
                "constant",
                "cosine_restarts",
                "one_cycle",
                "polynomial",
                "plateau",
            ),
            description="Shape of the learning rate over the run, after the warm-up; one_cycle has "
            "a warm-up of its own, plateau falls where mIoU on val does not rise.",
        ),
        "warmup_epochs": Limits(
            kind="float",
            low=0.0,
            whole_ranges=True,
            description="Epochs over which the learning rate rises to its peak, at most half of "
            "the run; train.warmup_epochs where it is left out.",
        ),
        "encoder_lr_factor": Limits(
            kind="float",
            above=0.0,
            high=1.0,
            description="Learning rate of the encoder, as a share of the decoder's.",
        ),
        "layer_decay": Limits(
            kind="float",
            above=0.0,
            high=1.0,
            description="Learning rate of each stage of the encoder, as a share of the next deeper "
            "one's.",
        ),
        "freeze_epochs": Limits(
            kind="int",
            low=0,
            high=10000,
            description="Epochs that the encoder stays as it is; then a stage more learns each "
            "epoch, the deepest first.",
        ),
        "ema_decay": Limits(
            kind="float",
            low=0.0,
            high=0.9999,
            description="Decay, for each step, of an average of the weights that is scored and "
            "kept instead of them; 0 is none.",
        ),
        "ema_distillation": Limits(
            kind="float",
            low=0.0,
            high=1.0,
            description="Weight, in the second half of the run, of what that average says of each "
            "pixel, beside the loss; needs ema_decay above 0.",
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
        "accumulate": Limits(
            kind="int",
            low=1,
            description="Batches whose gradients are averaged for one step; train.accumulate where "
            "it is left out.",
        ),
        "clip_norm": Limits(
            kind="float",
            above=0.0,
            optional=True,
            description="Largest L2 norm of all gradients together, none for no bound; "
            "train.clip_norm where it is left out.",
        ),
    }
)
