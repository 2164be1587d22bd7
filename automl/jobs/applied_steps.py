"""What the optimizer and its schedule really are, for `jobs/applied.py`."""

from __future__ import annotations

from collections.abc import Mapping

from automl.jobs.applied_loss import equal
from automl.jobs.live import Live, listed

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
