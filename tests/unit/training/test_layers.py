import pytest
import torch
from torch import nn

from automl.models.build import build_model
from automl.models.stages import encoder_stages
from automl.records import ModelSpec
from automl.training.layers import encoder_layers, lr_share_of, norms_at_rest, rest_norms
from automl.training.optimizers import LR_SHARE, build_optimizer
from automl.training.recipe import Recipe

SIZE = (16, 16)


@pytest.fixture
def net(staged_net):
    return staged_net()


def layers_of(net, **recipe):
    return encoder_layers(net, SIZE, Recipe(**recipe))


def test_stages_are_those_of_a_known_network():
    spec = ModelSpec(encoder="resnet18", decoder="fpn_lite", decoder_width=16)
    model = build_model(spec, num_classes=3, size=(64, 64), seed=0)
    before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    stages = encoder_stages(model.encoder, (64, 64))
    expected = {"conv1": 0, "bn1": 0, "layer1": 0, "layer2": 1, "layer3": 2, "layer4": 3}
    assert {name.split(".")[1]: stage for name, stage in stages.items()} == expected
    for name, stage in stages.items():
        assert stage == expected[name.split(".")[1]], name
    assert all(torch.equal(v, before[n]) for n, v in model.encoder.state_dict().items())
    assert model.encoder.training
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("encoder", ["mobilenetv3_small_050", "convnext_atto", "pvt_v2_b0"])
def test_every_family_has_as_many_stages_as_maps(encoder):
    spec = ModelSpec(encoder=encoder, decoder="fpn_lite", decoder_width=16)
    model = build_model(spec, num_classes=3, size=(64, 64), seed=0)
    stages = encoder_stages(model.encoder, (64, 64))
    assert set(stages) == {name for name, _ in model.encoder.named_parameters()}
    assert set(stages.values()) == {0, 1, 2, 3}
    ordered = list(stages.values())
    assert ordered[0] == 0
    assert ordered[-1] == 3


def test_rates_fall_by_depth_from_the_decoder_to_the_image(net):
    recipe = Recipe(encoder_lr_factor=0.5, layer_decay=0.1)
    layers = encoder_layers(net, SIZE, recipe)
    optimizer = build_optimizer(net, "adamw", 1.0, 0.05, lr_share_of(layers, recipe))
    shares = {id(p): g[LR_SHARE] for g in optimizer.param_groups for p in g["params"]}
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    expected = {"encoder.stages.0": 0.005, "encoder.stages.1": 0.05, "encoder.stages.2": 0.5}
    for name, parameter in net.named_parameters():
        wanted = expected.get(name[:16], 1.0)
        assert shares[id(parameter)] == pytest.approx(wanted), name
        assert decays[id(parameter)] == (0.05 if parameter.ndim > 1 else 0.0), name


def test_without_a_wish_there_are_two_groups_and_no_stages(net):
    assert layers_of(net) is None
    assert lr_share_of(None, Recipe()) is None
    groups = build_optimizer(net, "adamw", 1.0, 0.05).param_groups
    assert [LR_SHARE in group for group in groups] == [False, False]


def test_stages_are_let_go_one_an_epoch_from_the_deepest(net):
    layers = layers_of(net, freeze_epochs=2)
    learning = []
    for epoch in range(6):
        layers.freeze(epoch, 2)
        learning.append(
            [all(p.requires_grad for p in stage.parameters()) for stage in net.encoder.stages]
        )
        resting = [not any(p.requires_grad for p in s.parameters()) for s in net.encoder.stages]
        assert resting == [not learns for learns in learning[-1]]
    assert learning == [
        [False, False, False],
        [False, False, False],
        [False, False, True],
        [False, True, True],
        [True, True, True],
        [True, True, True],
    ]
    assert all(p.requires_grad for p in (*net.decoder.parameters(), *net.head.parameters()))


def test_a_change_of_what_learns_is_told(net):
    layers = layers_of(net, freeze_epochs=2)
    told = [layers.freeze(epoch, 2) for epoch in range(6)]
    assert told == [True, False, True, True, True, False]


def test_norms_rest_with_their_weights(net):
    layers = layers_of(net, freeze_epochs=1)
    layers.freeze(1, 1)
    net.train()
    rest_norms(net)
    assert [stage[1].training for stage in net.encoder.stages] == [False, False, True]
    assert len(norms_at_rest(net)) == 2
    assert net.training


def test_weights_that_never_learn_stay_so(net):
    net.encoder.stages[2][0].bias.requires_grad_(requires_grad=False)
    layers = layers_of(net, freeze_epochs=1)
    layers.freeze(9, 1)
    assert not net.encoder.stages[2][0].bias.requires_grad


def test_a_network_without_an_encoder_is_told():
    with pytest.raises(TypeError, match="need a network with an encoder, got Linear"):
        layers_of(nn.Linear(1, 1), layer_decay=0.5)
