"""Learning from images without labels: two views of one image are alike, those of others are not.

Source: Chen et al. 2020, "A simple framework for contrastive learning of visual representations"
(SimCLR, arXiv:2002.05709), eq. 1 and section 2.1.

Shapes: N images, 2 N views, C channels, D values of a projection.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from automl.training.precision import at_least_float32

#: Values of a projection. Source: section 4.2 of the paper, which finds 32 to 2048 alike.
PROJECTION = 128


def nt_xent(projected_vd: Tensor, temperature: float) -> Tensor:
    """The normalised temperature-scaled cross entropy of 2 N projections, a scalar.

    Rows i and i + N are the views of one image. For each view i with partner j the loss is
    `-log(exp(sim(i, j) / t) / sum over k != i of exp(sim(i, k) / t))`, `sim` the cosine, and the
    result its mean over all 2 N views. Half precisions are computed in float32, under autocast,
    too: exponentials of similarities over a small temperature leave their range. Raises ValueError
    for an odd number of rows, fewer than two images or a temperature that is not positive.
    """
    views = len(projected_vd)
    if views % 2 or views < 4:
        raise ValueError(f"needs two views of at least 2 images, got {views} rows")
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    # Autocast would take the product of matrices in half precision again.
    with torch.autocast(projected_vd.device.type, enabled=False):
        unit_vd = functional.normalize(at_least_float32(projected_vd), dim=1)
        similarity_vv = unit_vd @ unit_vd.T / temperature
    itself_vv = torch.eye(views, dtype=torch.bool, device=projected_vd.device)
    similarity_vv = similarity_vv.masked_fill(itself_vv, -torch.inf)
    partner_v = torch.arange(views, device=projected_vd.device).roll(views // 2)
    return functional.cross_entropy(similarity_vv, partner_v)


class ContrastiveLoss(nn.Module):
    """A `StepLoss` of an encoder: NT-Xent of its coarsest map, averaged and projected.

    The projection head (C to C, ReLU, C to `PROJECTION`) is trained with the encoder and thrown
    away with this loss; labels are not looked at.
    """

    def __init__(self, channels: int, *, temperature: float, seed: int) -> None:
        super().__init__()
        self.temperature = temperature
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.head = nn.Sequential(
                nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, PROJECTION)
            )

    def forward(self, model: nn.Module, images_nchw: Tensor, _target_nhw: Tensor) -> Tensor:
        """The loss of two views of each image, as `PairedViews` orders them; a scalar."""
        coarsest_nchw: Tensor = model(images_nchw)[-1]
        return nt_xent(self.head(coarsest_nchw.mean((2, 3))), self.temperature)
