"""The declaration of how channels are pruned."""

from __future__ import annotations

from typing import Literal, get_args

from automl.space.strict import Count, Settings

ImportanceName = Literal["group_norm", "l1", "bn_scale", "taylor"]
IMPORTANCES: tuple[ImportanceName, ...] = get_args(ImportanceName)

ScopeName = Literal["layer", "global"]
SCOPES: tuple[ScopeName, ...] = get_args(ScopeName)


class PruningSettings(Settings):
    """How the channels that go are chosen, and in how many steps they go."""

    importance: ImportanceName = "group_norm"
    """What makes a channel important. group_norm: its squared weights; l1: its absolute weights;
    bn_scale: the scales of its batch norms, layers without one stay; taylor: what the loss would
    change by without it, to first order."""
    scope: ScopeName = "layer"
    """Where the ratio holds. layer: for every layer; global: for all channels together, so that
    more go where they matter less."""
    steps: Count = 1
    """Prunings with a share of the fine-tuning after each; 1: all at once."""
