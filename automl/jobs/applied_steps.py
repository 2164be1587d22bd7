"""What the optimizer and its steps really are, for `jobs/applied.py`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import count, islice

import torch
from torch import nn

from automl.jobs.applied_loss import equal
from automl.jobs.live import Live, listed

#: The entry that each gradient is given to see what clipping leaves of it: beyond any bound.
_STEEP = 1e12
#: How far a clipped norm may be off: 32-bit sums of squares, and what keeps it from division by 0.
_ROUNDING = 1e-3

#: Class and fixed options of each optimizer.
OPTIMIZERS: Mapping[str, tuple[str, tuple[tuple[str, object], ...]]] = {
    "adamw": ("AdamW", ()),
    "lion": ("Lion", (("betas", (0.9, 0.99)),)),
    "sgd": ("SGD", (("momentum", 0.9), ("nesterov", True))),
}


def other_optimizer(live: Live) -> str | None:
    """Its class, its fixed options, and that it trains every parameter."""
    stepper = live.run.stepper
    name, options = OPTIMIZERS[live.params.optimizer]
    optimizer = stepper.optimizer
    if type(optimizer).__name__ != name:
        return type(optimizer).__name__
    if any(group[key] != value for group in optimizer.param_groups for key, value in options):
        return f"{name} without {dict(options)}"
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    left_out = [p for p in live.model.parameters() if p.requires_grad and id(p) not in trained]
    return f"{name} without {len(left_out)} parameters of the network" if left_out else None


def other_weight_decay(live: Live) -> str | None:
    """Weights must decay as sampled, biases and scales of norms not at all."""
    groups = live.run.stepper.optimizer.param_groups
    decays = {
        (p.ndim > 1, float(group["weight_decay"])) for group in groups for p in group["params"]
    }
    wrong = {
        decay
        for is_weight, decay in decays
        if not equal(decay, live.params.weight_decay if is_weight else 0.0)
    }
    return listed(wrong) if wrong else None


def other_accumulation(live: Live) -> str | None:
    """The batches that a step takes, and the steps that an epoch then has."""
    stepper, wanted = live.run.stepper, live.sample.steps.accumulate
    found = {float(len(group)) for group in islice(stepper.groups(count()), 2)}
    if found != {wanted}:
        return f"{listed(found)} batches a step"
    batches, planned = len(live.run.plan), stepper.timetable.steps
    steps = planned[min(live.run.epochs_done, len(planned) - 1)]
    return None if steps == -(-batches // wanted) else f"{steps} steps for {batches} batches"


def other_clipping(live: Live) -> str | None:
    """What norm a step leaves of steep gradients, which are planted for that and removed again."""
    stepper, wanted = live.run.stepper, live.sample.steps.clip_norm
    learning = [p for p in stepper.step_module.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.grad = torch.zeros_like(parameter)
        parameter.grad[(0,) * parameter.ndim] = _STEEP
    before = _norm_of(learning)
    stepper.clip_gradients()
    after = _norm_of(learning)
    for parameter in learning:
        parameter.grad = None
    if math.isclose(after, before if wanted is None else min(wanted, before), rel_tol=_ROUNDING):
        return None
    return "no bound" if after == before else f"a norm of {after:.4g}"


def _norm_of(parameters: list[nn.Parameter]) -> float:
    """The norm of gradients that are zero but for their first entries."""
    entries = [p.grad[(0,) * p.ndim] for p in parameters if p.grad is not None]
    return float(torch.stack(entries).double().norm())
