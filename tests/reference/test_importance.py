"""Scores of channels against plain loops over the weights of a chain of layers.

In `a - norm - b`, where `a` feeds `b`, the channels of `a` are coupled with the norm's and with the
inputs of `b`; a group's score is the mean over these layers, in units of its mean.
"""

import pytest
import torch
import torch_pruning as tp
from torch import nn

from automl.compression.importance import SCORES, as_products, loss_gradients

CHANNELS = 6


@pytest.fixture
def chain():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = nn.Sequential(
            nn.Conv2d(3, CHANNELS, 3, padding=1),
            nn.BatchNorm2d(CHANNELS),
            nn.ReLU(),
            nn.Conv2d(CHANNELS, 4, 1),
        )
        nn.init.normal_(net[1].weight)
        nn.init.normal_(net[1].bias)
    return net


def batches():
    generator = torch.Generator().manual_seed(5)
    for _ in range(2):
        yield torch.randn(2, 3, 8, 8, generator=generator), torch.zeros(2, 8, 8).long()


def scored(net, name):
    graph = tp.DependencyGraph().build_dependency(net, torch.randn(1, 3, 8, 8))
    group = graph.get_pruning_group(net[0], tp.prune_conv_out_channels, list(range(CHANNELS)))
    if name != "taylor":
        return SCORES[name]()(group)
    before = net[1].weight.clone()
    with as_products(net, loss_gradients(net, batches(), nn.functional.cross_entropy)):
        scores = SCORES[name]()(group)
    assert torch.equal(net[1].weight, before)
    return scores


def layers_of(net):
    """The weights of each coupled layer, a list of those of each channel."""
    first = [net[0].weight[c].flatten() for c in range(CHANNELS)]
    norm = [net[1].weight[c].flatten() for c in range(CHANNELS)]
    last = [net[3].weight[:, c].flatten() for c in range(CHANNELS)]
    return first, norm, last


def gradients_of(net):
    net.eval()
    loss = sum(nn.functional.cross_entropy(net(images), target) for images, target in batches())
    loss.backward()
    first = [net[0].weight.grad[c].flatten() for c in range(CHANNELS)]
    norm = [net[1].weight.grad[c].flatten() for c in range(CHANNELS)]
    last = [net[3].weight.grad[:, c].flatten() for c in range(CHANNELS)]
    net.zero_grad()
    return first, norm, last


def in_units_of_the_mean(values):
    mean = sum(values) / len(values)
    return [value / mean for value in values]


def magnitude(net, power, layers):
    totals = [0.0] * CHANNELS
    for layer in layers:
        for channel in range(CHANNELS):
            totals[channel] += sum(abs(w) ** power for w in layer[channel].tolist()) / len(layers)
    return in_units_of_the_mean(totals)


def taylor(net):
    totals = [0.0] * CHANNELS
    for weights, slopes in zip(layers_of(net), gradients_of(net), strict=True):
        for channel in range(CHANNELS):
            pairs = zip(weights[channel].tolist(), slopes[channel].tolist(), strict=True)
            totals[channel] += sum(abs(w * slope) for w, slope in pairs) / 3
    return in_units_of_the_mean(totals)


EXPECTED = {
    "group_norm": lambda net: magnitude(net, 2, layers_of(net)),
    "l1": lambda net: magnitude(net, 1, layers_of(net)),
    "bn_scale": lambda net: magnitude(net, 1, layers_of(net)[1:2]),
    "taylor": taylor,
}


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_those_of_plain_loops(chain, name):
    expected = EXPECTED[name](chain)
    assert scored(chain, name).tolist() == pytest.approx(expected, rel=1e-4)


def test_gradients_leave_the_network_as_it_was(chain):
    chain[1].weight.requires_grad_(requires_grad=False)
    chain.train()
    before = {name: value.clone() for name, value in chain.state_dict().items()}
    found = loss_gradients(chain, batches(), nn.functional.cross_entropy)
    assert chain[1].training
    assert all(torch.equal(before[name], value) for name, value in chain.state_dict().items())
    assert all(value.grad is None for value in chain.parameters())
    assert found["1.weight"].abs().sum() == 0
    assert found["0.weight"].abs().sum() > 0
