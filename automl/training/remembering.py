"""One pass of a model for several losses of the same images.

After mixup a batch has two targets. A `StepLoss` calls the model itself, as it likes, and is asked
once a target; what it gets the second time is what the model gave the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

#: What gives the logits first, and then other maps.
_WITH_MORE = ("forward_with_features", "forward_with_maps", "forward_with_stages")


class Remembering(nn.Module):
    """Stands for a model for as long as a step lasts; each method computes once."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model
        self._outputs: dict[str, tuple[Tensor, Any]] = {}

    def forward(self, images_nchw: Tensor) -> Any:
        """What the model gives for these images: what it gave first of all with something else."""
        for outputs in (self._outputs.get(name) for name in _WITH_MORE):
            if outputs is not None and outputs[0] is images_nchw:
                return outputs[1][0]
        return self._remembered("forward", self._model, images_nchw)

    def named_parameters(
        self,
        prefix: str = "",
        recurse: bool = True,  # noqa: FBT001, FBT002  the signature is PyTorch's
        remove_duplicate: bool = True,  # noqa: FBT001, FBT002
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """The model's, under its own names: a loss may look at the weights."""
        return self._model.named_parameters(prefix, recurse, remove_duplicate)

    def forward_with_features(self, images_nchw: Tensor) -> Any:
        """What the model gives for these images with its features, where it can."""
        compute: Any = self._model.forward_with_features
        return self._remembered("forward_with_features", compute, images_nchw)

    def forward_with_maps(self, images_nchw: Tensor) -> Any:
        """What the model gives for these images with its encoder's maps, where it can."""
        compute: Any = self._model.forward_with_maps
        return self._remembered("forward_with_maps", compute, images_nchw)

    def forward_with_stages(self, images_nchw: Tensor) -> Any:
        """What the model gives for these images with features and maps, where it can."""
        compute: Any = self._model.forward_with_stages
        return self._remembered("forward_with_stages", compute, images_nchw)

    def _remembered(self, name: str, compute: Callable[[Tensor], Any], images_nchw: Tensor) -> Any:
        known = self._outputs.get(name)
        if known is None or known[0] is not images_nchw:
            known = images_nchw, compute(images_nchw)
            self._outputs[name] = known
        return known[1]
