"""Gradients of the losses against finite differences, in float64."""

import pytest
import torch
from torch import nn

from automl.training.deep_supervision import DeepSupervision
from automl.training.elastic import ElasticLoss
from automl.training.losses import CombinedLoss, LossOptions
from automl.training.losses.pixel import LEAST_KEPT
from automl.training.self_distillation import Tutor

K = 3


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def labels(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, K, shape, generator=generator)
    target[0, 0, 0] = 255
    return target


class Maps(nn.Module):
    """Logits, and maps of three sizes, all of the images and of one weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(random(K, 3, seed=2))

    def forward(self, images_nchw):
        return self.forward_with_maps(images_nchw)[0]

    def forward_with_maps(self, images_nchw):
        logits_nkhw = torch.einsum("kc,nchw->nkhw", self.weight, images_nchw).tanh()
        pooled = [nn.functional.avg_pool2d(logits_nkhw, side) for side in (1, 2, 4)]
        return logits_nkhw, [each.sin() for each in pooled]


def checked(loss, model, images, target):
    """Whether the gradient by the images and that by every parameter is that of differences."""
    learning = [p for module in (model, loss) for p in module.parameters()]

    def by_all(images_nchw, *_parameters):
        return loss(model, images_nchw, target)

    return torch.autograd.gradcheck(by_all, (images.requires_grad_(), *learning))


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_ohem(gamma):
    """More pixels are labelled than are kept; none is so near the bound that a difference tips."""
    logits, target = 2 * random(1, K, 18, 18), labels(1, 18, 18)
    loss = CombinedLoss(0.0, gamma, None, LossOptions(ohem_share=0.5))
    assert (target != 255).sum() > LEAST_KEPT
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda given: loss(given, target), (logits,), fast_mode=True)
    (gradient,) = torch.autograd.grad(loss(logits, target), logits)
    reached = (gradient != 0).any(1)
    assert int(reached.sum()) == LEAST_KEPT, "what is easy has no gradient"


def test_deep_supervision():
    model, images, target = Maps(), random(1, 3, 4, 4), labels(1, 4, 4)
    loss = DeepSupervision(
        CombinedLoss(0.5, 2.0), weight=0.4, map_channels=(K, K, K), num_classes=K, seed=0
    ).double()
    assert len(loss.heads) == 2
    assert checked(loss, model, images, target)


def test_elastic_loss():
    model, images, target = Maps(), random(1, 3, 4, 4), labels(1, 4, 4)
    loss = ElasticLoss(
        CombinedLoss(0.5, 2.0),
        anchors={"weight": random(K, 3, seed=5)},
        fisher={"weight": random(K, 3, seed=6).square()},
        strength=3.0,
    )
    assert checked(loss, model, images, target)


def test_self_distillation():
    tutor, images = Maps().requires_grad_(requires_grad=False), random(2, 3, 4, 4)
    logits = random(2, K, 4, 4, seed=7).requires_grad_()
    term = Tutor(tutor.eval(), 0.7).term(logits, images)
    assert term.dtype == torch.float64
    assert torch.autograd.gradcheck(lambda given: Tutor(tutor, 0.7).term(given, images), (logits,))
