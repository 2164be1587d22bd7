"""Elastic weight consolidation: learn new data while what mattered for old data moves little.

Source: Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks", eq. 3:
`L(theta) = L_new(theta) + lambda / 2 * sum_i F_i * (theta_i - theta*_i)^2`, where `theta*` are the
weights that the old data gave and `F` is the diagonal of the Fisher information there.

Shapes: C channels, K classes, H and W pixels, P of all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from automl.records import IGNORE
from automl.training.borrowing import evaluating
from automl.training.steps import SupervisedLoss


def fisher_diagonal(
    model: nn.Module, samples: Iterable[tuple[Tensor, Tensor]], *, seed: int
) -> dict[str, Tensor]:
    """The diagonal of the Fisher information of each parameter, per labelled pixel, by its name.

    It is the true Fisher, not the empirical one: for each image, labels are drawn from the model's
    own prediction, one a labelled pixel, and the gradient of their log-likelihood is squared. (With
    the labels of the data it would be the empirical Fisher, which is no curvature: Kunstner et al.
    2019, section 3.) An image counts as one sample, and its information is divided by its labelled
    pixels, as the losses are: a strength of 1 then weighs a pixel of old data as much as a new one.

    `samples` are normalised images (1, 3, H, W) with their masks (1, H, W), on the model's device;
    of a mask it matters where it has labels, and an image without any is passed over. The model
    works as in evaluation and is given back as it was. Raises ValueError without a labelled pixel.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
    count = 0
    with evaluating(model), torch.enable_grad():
        for place, (image_1chw, mask_1hw) in enumerate(samples):
            labelled_p = (mask_1hw != IGNORE).flatten()
            pixels = int(labelled_p.sum())
            if pixels == 0:
                continue
            generator = torch.Generator().manual_seed(_draw_seed(seed, place))
            log_likelihood = _drawn_log_likelihood(model(image_1chw), labelled_p, generator)
            gradients = torch.autograd.grad(
                log_likelihood, list(parameters.values()), allow_unused=True
            )
            for name, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    sums[name] += gradient.detach() ** 2 / pixels
            count += 1
    if count == 0:
        raise ValueError("the Fisher information needs at least 1 labelled pixel, got none")
    return {name: total / count for name, total in sums.items()}


def _draw_seed(seed: int, image: int) -> int:
    return (seed * 1_000_003 + image) % 2**63


def _drawn_log_likelihood(
    logits_1khw: Tensor, labelled_p: Tensor, generator: torch.Generator
) -> Tensor:
    """The log-likelihood, summed over labelled pixels, of labels drawn from the prediction."""
    logits_pk = logits_1khw.float().movedim(1, -1).flatten(0, 2)[labelled_p]
    log_probs_pk = logits_pk.log_softmax(1)
    # Drawn on the CPU: the same labels on every device.
    probs_pk = log_probs_pk.detach().exp().cpu()
    labels_p1 = torch.multinomial(probs_pk, 1, generator=generator).to(log_probs_pk.device)
    return log_probs_pk.gather(1, labels_p1).sum()


class ElasticLoss(SupervisedLoss):
    """A loss of the new data, and `strength / 2` times the weighted square of what has moved.

    `anchors` and `fisher` hold the old weights and their information, by the parameters' names.
    They are no part of a checkpoint: a run that goes on is given them again. Raises ValueError
    where a weight has no information, or another shape.
    """

    def __init__(
        self,
        loss: nn.Module,
        *,
        anchors: Mapping[str, Tensor],
        fisher: Mapping[str, Tensor],
        strength: float,
    ) -> None:
        super().__init__(loss)
        if strength <= 0:
            raise ValueError(f"strength must be positive, got {strength}")
        if {k: v.shape for k, v in anchors.items()} != {k: v.shape for k, v in fisher.items()}:
            raise ValueError("each weight needs an information of its shape")
        self.strength = strength
        self._names = tuple(anchors)
        for place, name in enumerate(self._names):
            self.register_buffer(f"anchor{place}", anchors[name].detach(), persistent=False)
            self.register_buffer(f"fisher{place}", fisher[name].detach(), persistent=False)

    def forward(self, model: nn.Module, images_nchw: Tensor, target_nhw: Tensor) -> Tensor:
        """The loss of the model's logits and of its distance from the old weights, a scalar."""
        return super().forward(model, images_nchw, target_nhw) + self.penalty(model)

    def penalty(self, model: nn.Module) -> Tensor:
        """`strength / 2 * sum_i F_i * (theta_i - theta*_i)^2`."""
        live = dict(model.named_parameters())
        terms = []
        for place, name in enumerate(self._names):
            moved = live[name] - self.get_buffer(f"anchor{place}")
            terms.append((self.get_buffer(f"fisher{place}") * moved**2).sum())
        return self.strength / 2 * torch.stack(terms).sum()
