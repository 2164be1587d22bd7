"""The encoder's layers by depth: how fast each learns, and from which epoch on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from automl.models.stages import encoder_stages
from automl.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class EncoderLayers:
    """A network's encoder, and the stage of each of its parameters, 0 nearest to the image."""

    encoder: nn.Module
    stages: Mapping[nn.Parameter, int]

    @property
    def num_stages(self) -> int:
        """How many stages there are."""
        return 1 + max(self.stages.values())

    def lr_share(self, parameter: nn.Parameter, recipe: Recipe) -> float:
        """The rate of a parameter of the network or the loss, as a share of the decoder's.

        Source: Howard & Ruder 2018 (ULMFiT, arXiv:1801.06146), section 3.2; as a power of the
        distance, Clark et al. 2020 (ELECTRA, arXiv:2003.10555). Here it is the distance from the
        deepest stage, which learns at `encoder_lr_factor`.
        """
        if parameter not in self.stages:
            return 1.0
        distance = self.num_stages - 1 - self.stages[parameter]
        return recipe.encoder_lr_factor * float(recipe.layer_decay**distance)

    def is_frozen(self, parameter: nn.Parameter, epoch: int, freeze_epochs: int) -> bool:
        """Whether a parameter rests in an epoch, counted from 0.

        Source: Howard & Ruder 2018, section 3.3, "gradual unfreezing", the deepest stage first.
        """
        if freeze_epochs == 0 or parameter not in self.stages:
            return False
        distance = self.num_stages - 1 - self.stages[parameter]
        return epoch < freeze_epochs + distance

    def freeze(self, epoch: int, freeze_epochs: int) -> bool:
        """Have those parameters rest that do in an epoch; whether that differs from before."""
        changed = False
        for parameter in self.stages:
            learns = not self.is_frozen(parameter, epoch, freeze_epochs)
            changed |= parameter.requires_grad != learns
            parameter.requires_grad = learns
        return changed


def encoder_layers(model: nn.Module, size: tuple[int, int], recipe: Recipe) -> EncoderLayers | None:
    """The layers of the encoder of `model` for images of `size`, or None where nothing asks.

    Raises TypeError where something asks, and the network has no encoder.
    """
    if recipe.encoder_lr_factor == recipe.layer_decay == 1 and recipe.freeze_epochs == 0:
        return None
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise TypeError(
            "encoder_lr_factor, layer_decay and freeze_epochs need a network with an encoder, got "
            f"{type(model).__name__}"
        )
    named = dict(encoder.named_parameters())
    # Weights that never learn (fixed position embeddings, say) are no part of it.
    stages = {
        named[name]: stage
        for name, stage in encoder_stages(encoder, size).items()
        if named[name].requires_grad
    }
    return EncoderLayers(encoder, stages)


def lr_share_of(
    layers: EncoderLayers | None, recipe: Recipe
) -> Callable[[nn.Parameter], float] | None:
    """The share of the rate of each parameter, or None where all learn alike."""
    if layers is None or recipe.encoder_lr_factor == recipe.layer_decay == 1:
        return None
    return lambda parameter: layers.lr_share(parameter, recipe)


def rest_norms(module: nn.Module) -> None:
    """Have the batch norms whose weights rest keep their statistics, too.

    For a module in training mode; a norm without weights goes with the others.
    """
    for norm in norms_at_rest(module):
        norm.eval()


def norms_at_rest(module: nn.Module) -> list[nn.Module]:
    """The batch norms of a module all of whose weights rest."""
    return [
        norm
        for norm in module.modules()
        if isinstance(norm, _BatchNorm)
        and (weights := list(norm.parameters()))
        and not any(weight.requires_grad for weight in weights)
    ]
