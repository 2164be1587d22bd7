"""The proof that a trial trains with what was sampled: read back from what is live.

A search learns nothing from a parameter that is sampled and then ignored, and is misled by it. So
before its first step each trial compares its sample with the objects that train: the modules of
its network, its optimizer under its schedule, its loss, and the batches that it is about to walk
through. A parameter without effect fails the trial, by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import torch
from torch import Tensor, nn

from automl.data.augment import policy_transforms
from automl.errors import TrialError
from automl.fidelity import FULL, Fidelity
from automl.jobs.applied_fidelity import fidelity_faults
from automl.jobs.applied_network import (
    other_decoder,
    other_encoder,
    other_pruning,
    other_weights,
    other_width,
    twin_of,
)
from automl.models.build import SegmentationNet
from automl.records import DatasetInfo
from automl.space.parameters import TrialParameters
from automl.training.loop import Run
from automl.training.losses import CombinedLoss
from automl.training.ranks import world_size

#: Batches that are asked whether CutMix mixes them, and how far the share of those that say yes
#: may lie from the probability: five standard deviations.
_CUTMIX_BATCHES = 400
_CUTMIX_DEVIATIONS = 5.0

_CLOSE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was asked for: a trial's parameters and seed, and what the experiment declares."""

    params: TrialParameters
    seed: int
    precision: str
    info: DatasetInfo
    fidelity: Fidelity = FULL


@dataclass(frozen=True)
class Live:
    """A trial before its first step: what was asked for, and what is about to train."""

    sample: Sample
    run: Run

    @property
    def params(self) -> TrialParameters:
        """The sampled parameters."""
        return self.sample.params

    @property
    def model(self) -> SegmentationNet:
        """The network that trains."""
        model = self.run.module.model
        assert isinstance(model, SegmentationNet)
        return model

    @cached_property
    def twin(self) -> SegmentationNet:
        """The sampled encoder from scratch, unpruned."""
        return twin_of(self.params, self.sample.info, self.sample.seed)


@dataclass(frozen=True, slots=True)
class Proof:
    """Tells what is live instead of what was sampled, or None where they agree.

    It says nothing of use where a parameter that it `needs` is itself not proven.
    """

    find: Callable[[Live], str | None]
    needs: tuple[str, ...] = ()


def verify_applied(sample: Sample, run: Run) -> None:
    """Compare a sample with what is about to train; changes nothing that training depends on.

    Raises:
        TrialError: naming each parameter without effect, what was sampled and what is live.
    """
    live = Live(sample, run)
    faults: dict[str, str] = {}
    unproven: set[str] = set()
    for name, proof in PROOFS.items():
        found = None if unproven.intersection(proof.needs) else proof.find(live)
        if found is not None:
            faults[name] = f"sampled {getattr(sample.params, name)!r}, live {found}"
        if found is not None or unproven.intersection(proof.needs):
            unproven.add(name)
    precision = _other_precision(live)
    if precision is not None:
        faults["train.precision"] = f"declared {sample.precision!r}, live {precision}"
    stretch = sample.fidelity.at(run.epochs_done + 1)
    faults |= fidelity_faults(stretch, sample.params.batch_size, sample.info, run)
    if faults:
        told = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
        raise TrialError(f"without effect: {told}")


def _other_optimizer(live: Live) -> str | None:
    stepper = live.run.stepper
    name, options = _OPTIMIZERS[live.params.optimizer]
    optimizer = stepper.optimizer
    if type(optimizer).__name__ != name:
        return type(optimizer).__name__
    if any(group[key] != value for group in optimizer.param_groups for key, value in options):
        return f"{name} without {dict(options)}"
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    left_out = [p for p in live.model.parameters() if p.requires_grad and id(p) not in trained]
    return f"{name} without {len(left_out)} parameters of the network" if left_out else None


def _other_learning_rate(live: Live) -> str | None:
    """Has the schedule set its peak, as a step does, and reads the optimizer."""
    stepper = live.run.stepper
    stepper.set_learning_rate(stepper.peak_step)
    rates = {float(group["lr"]) for group in stepper.optimizer.param_groups}
    right = all(_equal(rate, live.params.learning_rate) for rate in rates)
    return None if right else f"a peak of {_listed(rates)}"


def _other_weight_decay(live: Live) -> str | None:
    """Weights must decay as sampled, biases and scales of norms not at all."""
    groups = live.run.stepper.optimizer.param_groups
    decays = {
        (p.ndim > 1, float(group["weight_decay"])) for group in groups for p in group["params"]
    }
    wrong = {
        decay
        for is_weight, decay in decays
        if not _equal(decay, live.params.weight_decay if is_weight else 0.0)
    }
    return _listed(wrong) if wrong else None


def _other_batch_size(live: Live) -> str | None:
    """A train split that is smaller than a batch gives one batch of all its images."""
    images = live.sample.info.counts["train"]
    size = len(live.run.plan.rows(0))
    whole = max(world_size(), min(live.params.batch_size, images))
    return None if size == whole else f"batches of {size}"


def _other_augmentation(live: Live) -> str | None:
    transforms = live.run.plan.augmentation.transforms()
    if transforms == policy_transforms(live.params.augmentation):
        return None
    names = [transform["__class_fullname__"] for transform in transforms]
    return f"the transforms {', '.join(names)}" if names else "no transforms"


def _other_cutmix(live: Live) -> str | None:
    """What the plan holds, and how often it decides to mix."""
    plan, wanted = live.run.plan, live.params.cutmix
    if not _equal(plan.settings.cutmix, wanted):
        return f"{plan.settings.cutmix:g}"
    share = sum(plan.mixes(number) for number in range(_CUTMIX_BATCHES)) / _CUTMIX_BATCHES
    spread = math.sqrt(wanted * (1 - wanted) / _CUTMIX_BATCHES)
    # The last term is for probabilities so small that a few batches are many deviations.
    slack = _CUTMIX_DEVIATIONS * (spread + 1 / _CUTMIX_BATCHES) if spread else 0.0
    return None if abs(share - wanted) <= slack else f"{share:.3f} of the batches"


def _other_alpha(live: Live) -> str | None:
    return _other_in_loss(live, lambda loss: _other_number(loss.alpha, live.params.alpha))


def _other_gamma(live: Live) -> str | None:
    return _other_in_loss(live, lambda loss: _other_number(loss.gamma, live.params.gamma))


def _other_class_weights(live: Live) -> str | None:
    return _other_in_loss(live, lambda loss: _other_weighting(loss.class_weights, live))


def _other_weighting(weights_k: Tensor | None, live: Live) -> str | None:
    """Balanced weights are as the inverse roots of the shares; none are none."""
    if live.params.class_weights == "none":
        return None if weights_k is None else f"weights {weights_k.tolist()}"
    if weights_k is None:
        return "no weights"
    share_k = torch.tensor(live.sample.info.class_pixel_share)
    present_k = share_k > 0
    level_k = (weights_k.cpu() * share_k.sqrt())[present_k]
    balanced = bool((level_k > 0).all()) and bool(torch.isclose(level_k, level_k[0]).all())
    return None if balanced else f"weights {weights_k.tolist()}"


def _other_in_loss(live: Live, find: Callable[[CombinedLoss], str | None]) -> str | None:
    step_loss = live.run.module.step_loss
    modules = step_loss.modules() if isinstance(step_loss, nn.Module) else ()
    losses = [module for module in modules if isinstance(module, CombinedLoss)]
    return find(losses[0]) if len(losses) == 1 else f"{len(losses)} losses that know of it"


def _other_weights(live: Live) -> str | None:
    """Only before any training: a run that goes on has the weights that it trained."""
    if live.run.epochs_done > 0:
        return None
    return other_weights(live.params, live.model, live.twin)


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


def _other_number(live: float, wanted: float) -> str | None:
    return None if _equal(live, wanted) else f"{live:g}"


def _equal(live: float, wanted: float) -> bool:
    return math.isclose(live, wanted, rel_tol=_CLOSE)


def _listed(values: set[float]) -> str:
    return ", ".join(f"{value:g}" for value in sorted(values))


#: Class and fixed options of each optimizer.
_OPTIMIZERS: Mapping[str, tuple[str, tuple[tuple[str, object], ...]]] = {
    "adamw": ("AdamW", ()),
    "sgd": ("SGD", (("momentum", 0.9), ("nesterov", True))),
}

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
        "pretrained": Proof(_other_weights, needs=("encoder",)),
        "alpha": Proof(_other_alpha),
        "gamma": Proof(_other_gamma),
        "class_weights": Proof(_other_class_weights),
        "augmentation": Proof(_other_augmentation),
        "cutmix": Proof(_other_cutmix),
        "optimizer": Proof(_other_optimizer),
        "learning_rate": Proof(_other_learning_rate),
        "weight_decay": Proof(_other_weight_decay),
        "batch_size": Proof(_other_batch_size),
    }
)
