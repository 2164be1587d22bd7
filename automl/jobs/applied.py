"""The proof that a trial trains with what was sampled: read back from what is live.

A search learns nothing from a parameter that is sampled and then ignored, and is misled by it. So
before its first step each trial compares its sample with the objects that train: the modules of
its network, its optimizer under its schedule, its loss, and the batches that it is about to walk
through. A parameter without effect fails the trial, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from automl.data.mixing.layers import MIXES
from automl.errors import TrialError
from automl.jobs.applied_data import (
    other_augmentation,
    other_batch_size,
    other_mix,
    other_oversampling,
)
from automl.jobs.applied_fidelity import fidelity_faults
from automl.jobs.applied_loss import LOSS_PROOFS, other_in_loss
from automl.jobs.applied_manner import manner_faults
from automl.jobs.applied_network import (
    other_decoder,
    other_encoder,
    other_head_bias,
    other_init,
    other_pruning,
    other_weights,
    other_width,
)
from automl.jobs.applied_norms import norm_faults
from automl.jobs.applied_policy import policy_faults
from automl.jobs.applied_recipe import (
    other_average,
    other_deep_supervision,
    other_encoder_factor,
    other_freezing,
    other_layer_decay,
    other_learning_rate,
    other_schedule,
    other_self_distillation,
    other_warmup,
)
from automl.jobs.applied_steps import (
    other_accumulation,
    other_clipping,
    other_optimizer,
    other_weight_decay,
)
from automl.jobs.live import Live, Proof, Sample
from automl.training.loop import Run


def verify_applied(sample: Sample, run: Run) -> None:
    """Compare a sample with what is about to train; changes nothing that training depends on.

    Raises:
        TrialError: naming each parameter without effect, what was sampled and what is live.
    """
    live = Live(sample, run)
    faults: dict[str, str] = {}
    unproven: set[str] = set()
    for name, proof in PROOFS.items():
        if name in sample.given:
            continue
        found = None if unproven.intersection(proof.needs) else proof.find(live)
        if found is not None:
            key, wanted = sample.wanted(name)
            faults[key] = f"{wanted}, live {found}"
        if found is not None or unproven.intersection(proof.needs):
            unproven.add(name)
    precision = _other_precision(live)
    if precision is not None:
        faults["train.precision"] = f"declared {sample.precision!r}, live {precision}"
    faults |= manner_faults(sample.manner, run)
    faults |= norm_faults(run.module.model, declared=sample.sync_batch_norm)
    faults |= policy_faults(sample.policy, run.plan.augmentation)
    stretch = sample.fidelity.at(run.epochs_done + 1)
    faults |= fidelity_faults(stretch, sample.params.batch_size, sample.info, run)
    if faults:
        told = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
        raise TrialError(f"without effect: {told}")


def _in_loss(name: str) -> Callable[[Live], str | None]:
    """The proof of a parameter of the loss."""

    def find(live: Live) -> str | None:
        return other_in_loss(name, live.params, live.sample.info, live.run.module.step_loss)

    return find


def _other_weights(live: Live) -> str | None:
    """Only before any training: a run that goes on has the weights that it trained."""
    if live.run.epochs_done > 0:
        return None
    return other_weights(live.params, live.model, live.twin, live.sample.seed)


def _other_init(live: Live) -> str | None:
    """Only before any training, as for the weights."""
    if live.run.epochs_done > 0:
        return None
    return other_init(live.params, live.model, live.sample.seed)


def _other_head_bias(live: Live) -> str | None:
    """Only before any training, as for the weights."""
    if live.run.epochs_done > 0:
        return None
    return other_head_bias(live.params, live.model, live.sample.info)


def _other_precision(live: Live) -> str | None:
    """What operations compute in where a step calls the network."""
    device = live.run.stepper.device.type
    with live.run.stepper.precision.autocast():
        lowered = torch.is_autocast_enabled(device)
        name = _DTYPES[torch.get_autocast_dtype(device)] if lowered else "fp32"
    allowed = {live.sample.precision}
    if live.sample.precision == "auto":
        allowed = {"fp32"} if device == "cpu" else {"bf16", "fp16"}
    return None if name in allowed else name


_DTYPES = {torch.bfloat16: "bf16", torch.float16: "fp16"}

#: One proof a parameter, each after those that it needs.
PROOFS: Mapping[str, Proof] = MappingProxyType(
    {
        "encoder": Proof(lambda live: other_encoder(live.params, live.model)),
        "decoder": Proof(lambda live: other_decoder(live.params, live.model)),
        "pruning_ratio": Proof(
            lambda live: other_pruning(live.params, live.model, live.twin),
            needs=("encoder", "decoder"),
        ),
        "decoder_width": Proof(
            lambda live: other_width(live.params, live.model), needs=("pruning_ratio",)
        ),
        "init": Proof(_other_init, needs=("decoder_width",)),
        "head_bias": Proof(_other_head_bias),
        "pretrained": Proof(_other_weights, needs=("encoder", "init")),
        **{name: Proof(_in_loss(name)) for name in LOSS_PROOFS},
        "deep_supervision": Proof(other_deep_supervision),
        "augmentation": Proof(other_augmentation),
        **{name: Proof(other_mix(name)) for name in MIXES},
        "oversample": Proof(other_oversampling),
        "optimizer": Proof(other_optimizer),
        "warmup_epochs": Proof(other_warmup),
        "schedule": Proof(other_schedule, needs=("warmup_epochs",)),
        "learning_rate": Proof(other_learning_rate, needs=("schedule",)),
        "encoder_lr_factor": Proof(other_encoder_factor, needs=("optimizer",)),
        "layer_decay": Proof(other_layer_decay, needs=("optimizer",)),
        "freeze_epochs": Proof(other_freezing),
        "ema_decay": Proof(other_average),
        "ema_distillation": Proof(other_self_distillation, needs=("ema_decay",)),
        "weight_decay": Proof(other_weight_decay),
        "batch_size": Proof(other_batch_size),
        "accumulate": Proof(other_accumulation),
        "clip_norm": Proof(other_clipping),
    }
)
