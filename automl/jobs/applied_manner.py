"""The proof that a network runs in the manner that was declared, or chosen by measurement."""

from __future__ import annotations

import torch
from torch import nn

from automl.training.loop import Run
from automl.training.manner import LAYOUTS, Manner, is_compiled


def manner_faults(manner: Manner, run: Run) -> dict[str, str]:
    """What is live instead of `manner`, by the declared key; call it inside of `prepared`."""
    faults = {}
    model = run.module.model
    layout = live_layout(model)
    if layout not in (manner.layout, None):
        faults["train.precision"] = f"chose {manner.layout}, live {layout}"
    if is_compiled(model) != manner.compiled:
        faults["train.compile"] = f"declared {manner.compiled}, live {is_compiled(model)}"
    deterministic = torch.are_deterministic_algorithms_enabled()
    if deterministic != manner.deterministic:
        faults["train.deterministic"] = f"declared {manner.deterministic}, live {deterministic}"
    return faults


def live_layout(model: nn.Module) -> str | None:
    """The layout of the weights; None where none of them tells the layouts apart."""
    for weight in model.parameters():
        if weight.ndim == 4:
            found = [name for name, form in LAYOUTS.items() if _lies_as(weight, form)]
            if len(found) == 1:
                return found[0]
    return None


def _lies_as(weight: torch.Tensor, form: torch.memory_format) -> bool:
    return weight.is_contiguous(memory_format=form)
