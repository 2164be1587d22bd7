import math

import pytest
import torch
from torch import nn

from automl.errors import UsageError
from automl.training.optimizers import build_optimizer


def model():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1, bias=False))


@pytest.mark.parametrize("name", ["adamw", "sgd", "lion"])
def test_only_weights_decay(name):
    net = model()
    optimizer = build_optimizer(net, name, 0.1, 0.05)
    decay = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    assert {n: decay[id(p)] for n, p in net.named_parameters()} == {
        "0.weight": 0.05,
        "0.bias": 0,
        "1.weight": 0,
        "1.bias": 0,
        "2.weight": 0.05,
    }


def test_frozen_parameters_are_left_out():
    net = model()
    net[0].requires_grad_(requires_grad=False)
    optimizer = build_optimizer(net, "adamw", 0.1, 0.05)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 3


def test_sgd_is_nesterov_with_momentum():
    net = nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(1.0)
    optimizer = build_optimizer(net, "sgd", 0.1, 0.0)
    # Gradient 1: v = 1, w -= 0.1 * (1 + 0.9 * 1).
    net.weight.grad = torch.ones(1, 1)
    optimizer.step()
    assert net.weight.item() == pytest.approx(1 - 0.19)


def test_lion_is_its_definition():
    """Chen et al. 2023, algorithm 2, by plain loops."""
    net = nn.Linear(3, 1, bias=False)
    weights, momentum = net.weight.detach()[0].double().tolist(), [0.0] * 3
    optimizer = build_optimizer(net, "lion", 0.01, 0.1)
    for step in range(5):
        gradient = [math.sin(7.0 * step + place + 1) for place in range(3)]
        net.weight.grad = torch.tensor([gradient])
        optimizer.step()
        for place, g in enumerate(gradient):
            sign = math.copysign(1.0, 0.9 * momentum[place] + 0.1 * g)
            weights[place] -= 0.01 * (sign + 0.1 * weights[place])
            momentum[place] = 0.99 * momentum[place] + 0.01 * g
    assert net.weight[0].tolist() == pytest.approx(weights, rel=1e-5)


def test_unknown_optimizer_is_named_with_what_is_allowed():
    with pytest.raises(UsageError, match="given 'adam'; allowed adamw, sgd, lion"):
        build_optimizer(model(), "adam", 0.1, 0.0)


def test_model_with_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="no parameter"):
        build_optimizer(model().requires_grad_(requires_grad=False), "adamw", 0.1, 0.0)
