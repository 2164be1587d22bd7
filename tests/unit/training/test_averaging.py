import pytest
import torch
from torch import nn

from automl.training.averaging import WeightAverage


def trajectory(net, steps):
    """The states of a network whose tensors move at random."""
    states = []
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        with torch.no_grad():
            for value in (*net.parameters(), net.norm.running_mean, net.norm.running_var):
                value.add_(torch.rand(value.shape, generator=generator))
            net.norm.num_batches_tracked += 1
        states.append({name: value.clone() for name, value in net.state_dict().items()})
    return states


@pytest.fixture
def net(tiny_net):
    return tiny_net(norm=True)


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_the_average_is_its_definition_unrolled(net, decay):
    average = WeightAverage(net, decay)
    states = []
    for updates in range(40):
        states += trajectory(net, 1)
        average.update(net, updates)
    weights = []
    for updates in range(40):
        d = min(decay, updates / (updates + 9))
        weights = [weight * d for weight in weights] + [1 - d]
    assert sum(weights) == pytest.approx(1)
    for name, value in average.model.state_dict().items():
        if not value.is_floating_point():
            assert int(value) == 40
            continue
        pairs = zip(weights, states, strict=True)
        wanted = sum(weight * state[name].double() for weight, state in pairs)
        torch.testing.assert_close(value.double(), wanted, rtol=1e-5, atol=1e-5)


def test_it_begins_with_the_weights_after_the_first_step(net):
    average = WeightAverage(net, 0.99)
    (first,) = trajectory(net, 1)
    average.update(net, 0)
    for name, value in average.model.state_dict().items():
        assert torch.equal(value, first[name])


def test_the_decay_warms_up_to_what_was_asked(net):
    average = WeightAverage(net, 0.9)
    decays = [average.decay_at(updates) for updates in range(200)]
    assert decays == sorted(decays)
    assert decays[:3] == pytest.approx([0, 0.1, 2 / 11])
    assert decays[80] < decays[81] == decays[-1] == 0.9


def test_the_network_stays_as_it_is_and_the_average_asks_for_no_gradient(net):
    before = {name: value.clone() for name, value in net.train().state_dict().items()}
    average = WeightAverage(net, 0.9)
    average.update(net, 5)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not average.model.training
    assert not any(parameter.requires_grad for parameter in average.model.parameters())


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1])
def test_decays_that_average_nothing_are_refused(decay):
    with pytest.raises(ValueError, match="decay must be above 0 and below 1"):
        WeightAverage(nn.Linear(1, 1), decay)
