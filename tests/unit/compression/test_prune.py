import copy
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from automl.compression.choice import GRID, kept_channels
from automl.compression.importance import loss_gradients
from automl.compression.prune import PruningRule, fit_to_state, layer_widths, prune
from automl.errors import TrialError
from automl.measurement.cost import model_cost
from automl.models.build import build_model
from automl.models.decoders import DECODERS
from automl.records import ModelSpec

SMALL = torch.zeros(1, 3, 96, 128)
LARGE = torch.zeros(1, 3, 192, 256)

# One of every kind of layer that the mobile and residual encoders are made of.
TINY = ("test_resnet", "test_efficientnet", "test_convnext")

SHIPPED = Path(__file__).parents[3] / "search_spaces" / "lightweight.yaml"
MOBILE = (
    *yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))["space"]["encoder"]["choice"],
    "tf_efficientnet_lite0",
)


def net(encoder: str, decoder: str, *, width: int = 48, seed: int = 0):
    spec = ModelSpec(encoder=encoder, decoder=decoder, decoder_width=width)
    return build_model(spec, num_classes=5, size=(64, 64), seed=seed)


def warmed(model):
    """Running statistics that are not 0 and 1, so that a mixed-up buffer would show."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        model.train()(torch.randn(4, 3, 64, 64, generator=generator))
    return model.eval()


def outputs(model, size=(96, 128)):
    images_nchw = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model.eval()(images_nchw)


def widths(model):
    """Output channels of every convolution and linear layer, by name."""
    return {
        name: len(module.weight)
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def uncut_layers(before, after):
    """Layers of more than 8 channels, the head aside, that pruning left as wide as they were."""
    wide = [name for name, width in before.items() if width > GRID and name != "head"]
    return [name for name in wide if after[name] == before[name]]


def check_pruned(encoder: str, decoder: str) -> None:
    model = warmed(net(encoder, decoder))
    pruned = prune(model, SMALL, 0.3)
    before, after = widths(model), widths(pruned)
    assert set(before) == set(after)
    cut = [name for name in after if after[name] < before[name]]
    assert [name for name in cut if after[name] % GRID] == []
    assert after["head"] == 5
    assert uncut_layers(before, after) == []
    assert model_cost(pruned, (96, 128))[1] < 0.6 * model_cost(model, (96, 128))[1]
    assert outputs(pruned).shape == (2, 5, 96, 128)
    rebuilt = fit_to_state(net(encoder, decoder, seed=3), pruned.state_dict())
    for size in ((96, 128), (192, 256)):
        assert torch.equal(outputs(rebuilt, size), outputs(pruned, size))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("encoder", TINY)
def test_pruned_networks_run_and_rebuild_exactly(encoder, decoder):
    check_pruned(encoder, decoder)


@pytest.mark.slow
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("encoder", MOBILE)
def test_every_shipped_pair_runs_and_rebuilds_exactly(encoder, decoder):
    check_pruned(encoder, decoder)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_higher_ratio_never_costs_more(decoder):
    model = net("test_efficientnet", decoder)
    costs = [model_cost(prune(model, SMALL, ratio), (96, 128)) for ratio in (0, 0.1, 0.3, 0.6, 0.9)]
    assert [params for params, _ in costs] == sorted((p for p, _ in costs), reverse=True)
    assert [macs for _, macs in costs] == sorted((m for _, m in costs), reverse=True)
    assert costs[-1][1] < 0.3 * costs[0][1]


@given(st.integers(1, 600), st.floats(0, 0.9), st.floats(0, 0.9), st.sampled_from([8, 24, 56]))
def test_kept_channels_lie_on_the_grid_and_fall_with_the_ratio(channels, first, second, step):
    low, high = sorted((first, second))
    more, fewer = (kept_channels(channels, ratio, step=step) for ratio in (low, high))
    assert 1 <= fewer <= more <= channels
    assert fewer % step == 0 or fewer == channels
    if step == GRID and channels >= GRID:
        assert abs(fewer - (1 - high) * channels) <= GRID / 2 or fewer in (GRID, channels)


def test_the_model_is_given_back_as_it_was():
    model = net("test_convnext", "fpn").train()
    model.head.weight.requires_grad_(requires_grad=False)
    model.decoder.eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    with torch.no_grad():
        pruned = prune(model, SMALL, 0.5)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert [module.training for module in pruned.modules()] == modes
    frozen = [name for name, value in pruned.named_parameters() if not value.requires_grad]
    assert frozen == ["head.weight"]
    assert all(value.grad is None for value in pruned.parameters())
    own = {value.data_ptr() for value in model.parameters()}
    assert not own & {value.data_ptr() for value in pruned.parameters()}


def test_a_ratio_of_zero_gives_an_equal_copy():
    model = net("test_resnet", "unet")
    pruned = prune(model, SMALL, 0)
    assert pruned is not model
    assert widths(pruned) == widths(model)
    assert torch.equal(outputs(pruned), outputs(model))


def test_pruning_twice_gives_the_same_network():
    model = net("test_efficientnet", "deeplabv3plus")
    first, second = (prune(model, SMALL, 0.4).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    # Neither does the global random state matter, nor the content of the example.
    torch.manual_seed(99)
    third = prune(model, torch.randn(2, 3, 64, 64), 0.4).state_dict()
    assert all(torch.equal(first[name], third[name]) for name in first)


def test_the_least_important_channels_go():
    model = net("test_resnet", "fpn_lite", width=32)
    weak = [3, 4, 9, 10, 15, 20, 21, 31]
    pointwise, norm = model.decoder.fuse[3], model.decoder.fuse[4]
    with torch.no_grad():
        for tensor in (pointwise.weight, norm.weight):
            tensor[weak] *= 0.01
        model.head.weight[:, weak] *= 0.01
    pruned = prune(model, SMALL, 0.25)
    strong = [channel for channel in range(32) if channel not in weak]
    assert torch.equal(pruned.head.weight, model.head.weight[:, strong])
    assert torch.equal(pruned.decoder.fuse[4].weight, norm.weight[strong])


@pytest.mark.parametrize("width", [16, 64, 128])
def test_the_group_norms_of_fpn_are_pruned_at_every_width(width):
    model = net("test_resnet", "fpn", width=width)
    pruned = prune(model, SMALL, 0.5)
    for norm in (m for m in pruned.modules() if isinstance(m, nn.GroupNorm)):
        assert norm.num_channels == max(8, width // 4)
        assert norm.num_channels // norm.num_groups == 8


def test_a_pruned_network_can_be_pruned_again_and_rebuilt_from_the_unpruned_one():
    # Group sizes other than 8, some of which do not divide the widths in between.
    model = net("resnet50_gn", "fpn", width=16)
    twice = prune(prune(model, SMALL, 0.3), SMALL, 0.3)
    rebuilt = fit_to_state(net("resnet50_gn", "fpn", width=16, seed=1), twice.state_dict())
    assert torch.equal(outputs(rebuilt), outputs(twice))


def test_a_pruned_network_trains():
    pruned = prune(net("test_efficientnet", "fpn"), SMALL, 0.5).train()
    step = torch.optim.SGD(pruned.parameters(), lr=0.1)
    images_nchw = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    target_nhw = (images_nchw[:, 0] > 0).long()
    torch.manual_seed(0)
    losses = []
    for _ in range(8):
        loss = nn.functional.cross_entropy(pruned(images_nchw), target_nhw)
        step.zero_grad()
        loss.backward()
        step.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_layers_that_must_stay_whole_are_named():
    # Channels of grouped convolutions go group by group, those of attention not at all.
    for encoder, stays in (("regnetx_002", "s1.b1.conv2"), ("mobilevit_xxs", "attn.qkv")):
        model = net(encoder, "fpn_lite")
        pruned = prune(model, SMALL, 0.3)
        assert any(stays in name for name in uncut_layers(widths(model), widths(pruned)))
        assert outputs(pruned).shape == (2, 5, 96, 128)


def test_channels_that_hang_on_one_another_do_not_take_more_than_was_asked():
    model = net("ghostnet_100", "fpn_lite")
    before, after = widths(model), widths(prune(model, SMALL, 0.3))
    assert [name for name in after if after[name] < before[name] and after[name] % GRID] == []


@pytest.mark.parametrize("ratio", [-0.1, 0.91, float("nan")])
def test_ratios_out_of_range_are_told(ratio):
    with pytest.raises(ValueError, match=r"from 0 to 0.9"):
        prune(net("test_resnet", "fpn_lite"), SMALL, ratio)


def test_networks_that_cannot_be_pruned_are_told_and_left_alone():
    model = net("tresnet_m", "fpn_lite")
    before = copy.deepcopy(widths(model))
    with pytest.raises(TrialError, match="cannot be narrowed; set pruning_ratio to 0"):
        prune(model, SMALL, 0.3)
    assert widths(model) == before


def test_windowed_attention_is_left_whole_without_following_each_of_its_channels():
    # torch-pruning follows sets of channels: from these windows more than fit into memory.
    model = net("maxvit_pico_rw_256", "fpn_lite")
    pruned = prune(model, torch.zeros(1, 3, 64, 64), 0.5)
    assert pruned.decoder.fuse[3].out_channels == 24 < model.decoder.fuse[3].out_channels
    attention = {name for name, _ in model.named_parameters() if ".qkv." in name}
    shapes = {name: value.shape for name, value in pruned.named_parameters()}
    assert attention
    assert all(shapes[n] == p.shape for n, p in model.named_parameters() if n in attention)


def rule_of(model, importance, scope="layer", widths=None):
    gradients = None
    if importance == "taylor":
        generator = torch.Generator().manual_seed(2)
        images = torch.randn(2, 3, 64, 64, generator=generator)
        target = torch.zeros(2, 64, 64).long()
        gradients = loss_gradients(model, [(images, target)], nn.functional.cross_entropy)
    return PruningRule(importance=importance, scope=scope, gradients=gradients, full_widths=widths)


@pytest.mark.parametrize("importance", ["l1", "bn_scale", "taylor"])
def test_every_importance_prunes_to_widths_that_run_and_rebuild(importance):
    model = warmed(net("test_efficientnet", "unet"))
    pruned = prune(model, SMALL, 0.4, rule_of(model, importance))
    before, after = widths(model), widths(pruned)
    assert after["head"] == 5
    assert model_cost(pruned, (96, 128))[1] < 0.75 * model_cost(model, (96, 128))[1]
    assert [name for name in after if after[name] < before[name] and after[name] % GRID] == []
    rebuilt = fit_to_state(net("test_efficientnet", "unet", seed=3), pruned.state_dict())
    assert torch.equal(outputs(rebuilt), outputs(pruned))
    assert all(value.grad is None for value in (*pruned.parameters(), *model.parameters()))


def test_prunings_share_no_state():
    model = warmed(net("test_resnet", "fpn"))
    first = prune(model, SMALL, 0.5, rule_of(model, "taylor", "global")).state_dict()
    prune(model, SMALL, 0.7, rule_of(model, "l1"))
    again = prune(model, SMALL, 0.5, rule_of(model, "taylor", "global")).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_steps_of_pruning_end_at_the_widths_of_one():
    model = warmed(net("test_efficientnet", "fpn_lite"))
    full = layer_widths(model)
    stepwise = model
    for ratio in (0.2, 0.37, 0.5):
        stepwise = prune(stepwise, SMALL, ratio, PruningRule(full_widths=full))
    assert widths(stepwise) == widths(prune(model, SMALL, 0.5))


def test_globally_layers_lose_different_shares():
    model = warmed(net("test_resnet", "unet"))
    everywhere = prune(model, SMALL, 0.5, rule_of(model, "group_norm", "global"))
    before, after = widths(model), widths(everywhere)
    shares = {round(1 - after[name] / before[name], 2) for name in before if before[name] >= 32}
    assert len(shares) > 1
    assert after["head"] == 5


@pytest.mark.parametrize("given", [{"importance": "taylor"}, {"gradients": {}}])
def test_gradients_belong_to_taylor(given):
    with pytest.raises(ValueError, match="taylor needs gradients, and it alone"):
        PruningRule(**given)
