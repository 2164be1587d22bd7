"""Elastic weight consolidation against its definition, in loops over pixels and parameters."""

import itertools

import pytest
import torch
from torch import nn

from automl.training.elastic import ElasticLoss, fisher_diagonal

CLASSES = 3


@pytest.fixture
def net():
    generator = torch.Generator().manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Tanh(), nn.Conv2d(2, CLASSES, 3, padding=1)).double()
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return net


def images(count, *, size=(2, 3)):
    generator = torch.Generator().manual_seed(2)
    return [
        torch.randn(1, 3, *size, generator=generator, dtype=torch.float64) for _ in range(count)
    ]


def with_labels(pictures):
    """Every pixel of them labelled."""
    return [
        (picture, torch.zeros(1, *picture.shape[-2:], dtype=torch.uint8)) for picture in pictures
    ]


def expected_fisher(net, samples):
    """The mean over images of the mean over labelled pixels of sum_k p_k * (d log p_k)^2."""
    totals = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    for picture, mask in samples:
        labelled = (mask[0] != 255).nonzero().tolist()
        for (row, column), label in itertools.product(labelled, range(CLASSES)):
            net.zero_grad()
            log_p = torch.log_softmax(net(picture)[0, :, row, column], 0)[label]
            log_p.backward()
            for name, parameter in net.named_parameters():
                share = log_p.detach().exp() / (len(labelled) * len(samples))
                totals[name] += share * parameter.grad**2
    return totals


@pytest.mark.parametrize("ignored", [[], [(0, 0, 1), (0, 1, 1), (0, 1, 2)]], ids=["all", "some"])
def test_fisher_is_the_expectation_under_the_models_own_labels(net, ignored):
    """Labels are drawn: over many draws of the same two images the mean comes to the sum."""
    samples = with_labels(images(2))
    for place in ignored:
        samples[1][1][place] = 255
    expected = expected_fisher(net, samples)
    found = fisher_diagonal(net, samples * 2400, seed=0)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=0.2, atol=0.03 * value.max().item())


def test_fisher_depends_on_the_seed_alone_and_gives_the_model_back(net):
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(5)
    first = fisher_diagonal(net, with_labels(images(3)), seed=4)
    torch.manual_seed(6)
    again = fisher_diagonal(net, with_labels(images(3)), seed=4)
    other = fisher_diagonal(net, with_labels(images(3)), seed=5)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert net.training
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    with pytest.raises(ValueError, match="at least 1 labelled pixel"):
        fisher_diagonal(net, [], seed=0)
    unlabelled = [(picture, mask + 255) for picture, mask in with_labels(images(2))]
    with pytest.raises(ValueError, match="at least 1 labelled pixel"):
        fisher_diagonal(net, unlabelled, seed=0)


def test_what_is_not_labelled_leaves_no_trace(net):
    """A pixel that is padded in changes neither the draws nor the gradients of the others."""
    (picture,) = images(1, size=(4, 6))
    mask = torch.zeros(1, 4, 6, dtype=torch.uint8)
    mask[:, :, 4:] = 255
    other = picture.clone()
    other[..., 5:] = 9.0  # beyond what the 3 x 3 convolution sees of labelled pixels
    first, second = (fisher_diagonal(net, [(p, mask)], seed=1) for p in (picture, other))
    for name, value in first.items():
        assert torch.allclose(value, second[name], rtol=1e-9)
    whole = fisher_diagonal(net, with_labels([picture]), seed=1)
    assert not torch.allclose(whole["0.weight"], first["0.weight"], rtol=1e-2)


class Nothing(nn.Module):
    def forward(self, logits_nkhw, _target_nhw):
        return 0 * logits_nkhw.sum()


def test_penalty_is_half_the_strength_times_the_weighted_squares(net):
    anchors = {name: value.detach() + 0.1 for name, value in net.named_parameters()}
    fisher = {name: value.detach() ** 2 for name, value in net.named_parameters()}
    expected = 0.0
    for name, value in net.named_parameters():
        for live, old, weight in zip(
            value.flatten().tolist(),
            anchors[name].flatten().tolist(),
            fisher[name].flatten().tolist(),
            strict=True,
        ):
            expected += 7.0 / 2 * weight * (live - old) ** 2
    loss = ElasticLoss(Nothing(), anchors=anchors, fisher=fisher, strength=7.0)
    (picture,) = images(1)
    total = loss(net, picture, torch.zeros(1, 2, 3, dtype=torch.int64))
    assert total.item() == pytest.approx(expected, rel=1e-9)
    total.backward()
    weight = net[0].weight
    slope = 7.0 * fisher["0.weight"] * (weight.detach() - anchors["0.weight"])
    assert torch.allclose(weight.grad, slope)
    assert loss.state_dict() == {}, "a checkpoint holds the old weights no second time"


def test_a_weight_without_information_is_refused(net):
    anchors = dict(net.named_parameters())
    with pytest.raises(ValueError, match="needs an information"):
        ElasticLoss(Nothing(), anchors=anchors, fisher={}, strength=1.0)
    with pytest.raises(ValueError, match="positive"):
        ElasticLoss(Nothing(), anchors=anchors, fisher=anchors, strength=0.0)
