import pytest
import torch

from automl.compression.prune import prune
from automl.compression.rebuild import fit_to_state, regroup
from automl.errors import TrialError
from automl.models.build import build_model
from automl.records import ModelSpec

SPEC = ModelSpec(encoder="test_resnet", decoder="fpn", decoder_width=32)


def shapes(model):
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


@pytest.fixture
def skeleton():
    return build_model(SPEC, num_classes=3, size=(64, 64), seed=1)


@pytest.fixture
def state():
    model = build_model(SPEC, num_classes=3, size=(64, 64), seed=0)
    return prune(model, torch.zeros(1, 3, 64, 64), 0.5).state_dict()


def test_the_skeleton_is_left_as_it_was(skeleton, state):
    before = shapes(skeleton)
    modes = [module.training for module in skeleton.train().modules()]
    rebuilt = fit_to_state(skeleton, state)
    assert shapes(skeleton) == before != shapes(rebuilt)
    assert [module.training for module in rebuilt.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in rebuilt.state_dict().items())


def test_the_rebuilt_network_does_not_share_memory_with_the_state(skeleton, state):
    rebuilt = fit_to_state(skeleton, state)
    given = {value.data_ptr() for value in state.values()}
    assert not given & {value.data_ptr() for value in rebuilt.state_dict().values()}


def test_an_unpruned_state_is_simply_loaded(skeleton):
    full = build_model(SPEC, num_classes=3, size=(64, 64), seed=4).state_dict()
    rebuilt = fit_to_state(skeleton, full)
    assert all(torch.equal(value, full[name]) for name, value in rebuilt.state_dict().items())


def test_faults_are_named(skeleton, state):
    missing = dict(state)
    del missing["head.bias"]
    with pytest.raises(TrialError, match=r"\(1 faults\): missing: head.bias"):
        fit_to_state(skeleton, missing)
    with pytest.raises(TrialError, match="unknown: extra"):
        fit_to_state(skeleton, state | {"extra": torch.zeros(1)})
    with pytest.raises(TrialError, match=r"head.bias: shape \(9,\) is no part of \(3,\)"):
        fit_to_state(skeleton, state | {"head.bias": torch.zeros(9)})
    with pytest.raises(TrialError, match=r"head.bias: shape \(3, 1\) is no part"):
        fit_to_state(skeleton, state | {"head.bias": torch.zeros(3, 1)})


def test_layers_that_do_not_meet_are_told(skeleton, state):
    name = "encoder.model.bn1"
    torn = {
        key: value[:4] if key.startswith(name) and value.dim() else value
        for key, value in state.items()
    }
    with pytest.raises(TrialError, match="layers do not meet"):
        fit_to_state(skeleton, torn)


@pytest.mark.parametrize(
    ("groups", "channels", "narrowed", "expected"),
    [(8, 64, 40, 5), (32, 64, 40, 20), (4, 64, 24, 3), (1, 64, 40, 1), (64, 64, 40, 40)],
)
def test_a_narrowed_group_norm_keeps_the_channels_in_a_group(groups, channels, narrowed, expected):
    norm = torch.nn.GroupNorm(groups, channels)
    regroup(norm, narrowed)
    assert (norm.num_groups, norm.num_channels) == (expected, narrowed)


def test_narrowing_in_two_steps_ends_where_one_step_does():
    direct, stepwise = torch.nn.GroupNorm(4, 64), torch.nn.GroupNorm(4, 64)
    regroup(direct, 32)
    for channels in (40, 32):
        regroup(stepwise, channels)
    assert stepwise.num_groups == direct.num_groups == 2
