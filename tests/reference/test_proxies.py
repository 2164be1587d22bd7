"""Zero-cost proxies against their definitions, written out for tiny networks."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from automl.measurement.cost import model_cost
from automl.measurement.proxies import (
    PROXIES,
    ProbeBatch,
    gradient_norm,
    naswot,
    proxy_scores,
    synflow,
)
from automl.models.build import build_model
from automl.records import ModelSpec


def conv(inputs, outputs):
    """A 1 by 1 convolution with a bias, on which nothing but the channels acts."""
    return nn.Conv2d(inputs, outputs, 1)


def weights_of(model):
    return [
        m.weight.detach().double().numpy()[:, :, 0, 0]
        for m in model.modules()
        if isinstance(m, nn.Conv2d)
    ]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return ProbeBatch(
        images_nchw=torch.randn(4, 3, 4, 4, generator=generator),
        target_nhw=torch.randint(0, 2, (4, 4, 4), generator=generator),
        loss=nn.functional.cross_entropy,
    )


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.reduce = conv(channels, channels)
        self.gate = nn.Hardsigmoid()

    def forward(self, values):
        return values * self.gate(self.reduce(values.mean((2, 3), keepdim=True)))


def chain(*, activation=nn.ReLU, norm=nn.Identity, gate=nn.Identity):
    torch.manual_seed(1)
    return nn.Sequential(
        conv(3, 5), norm(), activation(), gate(), conv(5, 4), activation(), conv(4, 2)
    )


# ---------------------------------------------------------------------- synflow


def test_synflow_of_a_chain_is_the_number_of_layers_times_the_product_of_absolute_weights():
    model = chain()
    product = np.ones(3)
    for weights in weights_of(model):
        product = np.abs(weights) @ product
    pixels = 4 * 4
    assert synflow(model, (4, 4)) == pytest.approx(np.log10(3 * pixels * product.sum()))


@pytest.mark.parametrize(
    "bent",
    [
        {"activation": nn.Hardswish},
        {"activation": lambda: nn.ReLU(inplace=True)},
        {"activation": nn.SiLU},
        {"norm": lambda: nn.BatchNorm2d(5)},
        {"norm": lambda: nn.GroupNorm(1, 5)},
        {"gate": lambda: SqueezeExcite(5)},
    ],
)
def test_synflow_sees_weights_only_not_norms_activations_and_gates(bent):
    straight, curved = chain(), chain(**bent)
    for source, target in zip(
        [m for m in straight if isinstance(m, nn.Conv2d)],
        [m for m in curved if isinstance(m, nn.Conv2d)],
        strict=True,
    ):
        target.load_state_dict(source.state_dict())
    assert synflow(curved, (4, 4)) == pytest.approx(synflow(straight, (4, 4)))


def test_synflow_survives_what_overflows_float64():
    layer = nn.Conv2d(3, 3, 1, bias=False)
    nn.init.constant_(layer.weight, 1e8 / 3)
    depth = 45
    deep = nn.Sequential(*(copy.deepcopy(layer) for _ in range(depth)))
    expected = np.log10(depth) + 8 * depth + np.log10(3 * 16)
    assert expected > 308
    assert synflow(deep, (4, 4)) == pytest.approx(expected)


def test_synflow_of_a_dead_network_is_refused():
    model = chain()
    nn.init.zeros_(model[0].weight)
    with pytest.raises(ValueError, match="synflow"):
        synflow(model, (4, 4))


# ---------------------------------------------------------------------- naswot


def determinant_by_definition(values_before_activation):
    """Mellor et al. 2021, eq. 2 and 3, bit by bit."""
    codes = [
        np.concatenate([layer[i].ravel() > 0 for layer in values_before_activation])
        for i in range(len(values_before_activation[0]))
    ]
    units = len(codes[0])
    kernel = [[units - np.count_nonzero(x != y) for y in codes] for x in codes]
    return np.linalg.slogdet(np.array(kernel, dtype=float))[1]


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Hardswish, nn.GELU, nn.ReLU6])
def test_naswot_is_the_log_determinant_of_agreeing_codes(batch, activation):
    model = chain(activation=activation)
    with torch.no_grad():
        first = model[0](batch.images_nchw)
        second = model[4](model[2](first))
    expected = determinant_by_definition([first.numpy(), second.numpy()])
    assert naswot(model, batch.images_nchw) == pytest.approx(expected)


def test_naswot_uses_the_statistics_of_the_batch(batch):
    shifted = chain(norm=lambda: nn.BatchNorm2d(5))
    nn.init.constant_(shifted[0].bias, 1e4)
    with torch.no_grad():
        first = nn.functional.batch_norm(
            shifted[0](batch.images_nchw), None, None, training=True, eps=1e-5
        )
        second = shifted[4](torch.relu(first))
    expected = determinant_by_definition([first.numpy(), second.numpy()])
    assert naswot(shifted, batch.images_nchw) == pytest.approx(expected)


class InWindows(nn.Module):
    """Applies a layer to the halves of each image, stacked along the batch."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, values):
        count, channels, height, width = values.shape
        windows = values.reshape(count, channels, 2, height // 2, width).transpose(1, 2)
        done = self.layer(windows.reshape(2 * count, channels, height // 2, width))
        return done.reshape(count, 2, channels, height // 2, width).transpose(1, 2).flatten(2, 3)


def test_naswot_takes_the_windows_of_an_image_together(batch):
    plain = chain()
    windowed = copy.deepcopy(plain)
    windowed[2] = InWindows(nn.ReLU())
    expected = naswot(plain, batch.images_nchw)
    assert naswot(windowed, batch.images_nchw) == pytest.approx(expected, rel=1e-12)


def test_naswot_counts_many_units_in_parts(batch, monkeypatch):
    model = chain()
    whole = naswot(model, batch.images_nchw)
    monkeypatch.setattr("automl.measurement.proxies._CODE_CHUNK", 7)
    assert naswot(model, batch.images_nchw) == pytest.approx(whole, rel=1e-12)


def test_naswot_refuses_images_that_it_cannot_tell_apart(batch):
    same = batch.images_nchw[:1].expand(3, -1, -1, -1)
    with pytest.raises(ValueError, match="tell the images apart"):
        naswot(chain(), same)


def test_naswot_refuses_a_network_without_activations(batch):
    with pytest.raises(ValueError, match="activations"):
        naswot(nn.Sequential(conv(3, 2)), batch.images_nchw)


# ---------------------------------------------------------------------- gradient norm


def test_the_gradient_norm_is_the_sum_over_layers_of_the_norm_of_the_weights_gradient(batch):
    model = chain()
    loss = batch.loss(model(batch.images_nchw), batch.target_nhw)
    loss.backward()
    expected = sum(
        float(m.weight.grad.square().sum().sqrt()) for m in model if isinstance(m, nn.Conv2d)
    )
    model.zero_grad()
    assert gradient_norm(model, batch) == pytest.approx(expected, rel=1e-5)


def test_frozen_weights_have_a_gradient_norm_too(batch):
    model = chain()
    expected = gradient_norm(model, batch)
    model.requires_grad_(requires_grad=False)
    assert gradient_norm(model, batch) == expected


def test_a_gradient_that_is_not_finite_is_refused(batch):
    model = chain()
    nn.init.constant_(model[0].weight, float("inf"))
    with pytest.raises(ValueError, match="norm of the gradient is"):
        gradient_norm(model, batch)


# ---------------------------------------------------------------------- all of them


SPECS = [
    ModelSpec(encoder="mobilenetv3_small_050", decoder="fpn_lite", decoder_width=16),
    ModelSpec(encoder="efficientnet_lite0", decoder="fpn", decoder_width=16),
    ModelSpec(encoder="resnet18", decoder="unet", decoder_width=16),
]


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(3)
    return ProbeBatch(
        images_nchw=torch.randn(4, 3, 32, 64, generator=generator),
        target_nhw=torch.randint(0, 3, (4, 32, 64), generator=generator),
        loss=nn.functional.cross_entropy,
    )


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.encoder)
def test_real_networks_have_finite_repeatable_scores_and_come_back_as_they_were(spec, images):
    model = build_model(spec, num_classes=3, size=(32, 64), seed=0)
    model.head.weight.requires_grad_(requires_grad=False)
    model.decoder.eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    random_state = torch.random.get_rng_state()
    scores = proxy_scores(model, images)
    assert list(scores) == list(PROXIES)
    assert np.isfinite(list(scores.values())).all()
    assert (scores["params"], scores["macs"]) == model_cost(model, (32, 64))
    assert proxy_scores(model, images) == scores
    again = build_model(spec, num_classes=3, size=(32, 64), seed=0)
    again.decoder.eval()
    assert proxy_scores(again, images) == scores
    assert [module.training for module in model.modules()] == modes
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["head.weight"]
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
    assert torch.equal(torch.random.get_rng_state(), random_state)


def test_other_weights_give_other_scores(images):
    first, second = (
        proxy_scores(build_model(SPECS[0], num_classes=3, size=(32, 64), seed=seed), images)
        for seed in (0, 1)
    )
    assert {n for n in first if first[n] != second[n]} == {"naswot", "synflow", "grad_norm"}


@pytest.mark.parametrize(("images_n", "masks_n"), [(1, 1), (3, 2)])
def test_a_probe_needs_two_images_with_their_masks(images_n, masks_n):
    with pytest.raises(ValueError, match="at least 2 images"):
        ProbeBatch(
            images_nchw=torch.zeros(images_n, 3, 4, 4),
            target_nhw=torch.zeros(masks_n, 4, 4),
            loss=nn.functional.cross_entropy,
        )
