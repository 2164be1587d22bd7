import pytest
import torch
from torch import nn

from automl.errors import UsageError
from automl.models.build import SegmentationNet, build_model, check_spec, normalisation_for
from automl.models.decoders import DECODERS
from automl.models.encoders import EncoderDescription
from automl.records import ModelSpec, Normalisation

TINY = "test_resnet"
SIZE = (64, 96)
STEM = "encoder.model.conv1.0.weight"
OF_DATASET = Normalisation(mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))


def spec(decoder: str = "fpn_lite", **changes) -> ModelSpec:
    fields = {"encoder": TINY, "decoder": decoder, "decoder_width": 32}
    return ModelSpec(**(fields | changes))


def told(wrong: ModelSpec) -> list[str]:
    return [str(fault) for fault in check_spec(wrong, SIZE)]


def rms(tensor: torch.Tensor) -> float:
    return float(tensor.detach().pow(2).mean().sqrt())


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("size", [(32, 32), (96, 64)])
def test_logits_have_the_size_of_the_images(decoder, size):
    model = build_model(spec(decoder), num_classes=5, size=SIZE, seed=0)
    logits_nkhw, features_nchw = model.forward_with_features(torch.randn(2, 3, *size))
    assert logits_nkhw.shape == (2, 5, *size)
    stride = DECODERS[decoder].stride
    assert features_nchw.shape[2:] == (size[0] // stride, size[1] // stride)
    assert features_nchw.shape[1] == model.head.in_channels


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("width", [16, 24, 40, 512])
def test_every_width_on_the_grid_can_be_built(decoder, width):
    model = build_model(spec(decoder, decoder_width=width), num_classes=2, size=SIZE, seed=0)
    assert model.head.in_channels % 8 == 0


def test_wider_decoders_have_more_parameters():
    for decoder in DECODERS:
        counts = [
            sum(p.numel() for p in build_model(s, num_classes=3, size=SIZE, seed=0).parameters())
            for s in (spec(decoder, decoder_width=w) for w in (16, 32, 64))
        ]
        assert counts == sorted(set(counts))


def test_seed_decides_the_weights_and_global_randomness_is_left_alone():
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = build_model(spec(), num_classes=3, size=SIZE, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    second = build_model(spec(), num_classes=3, size=SIZE, seed=5).state_dict()
    third = build_model(spec(), num_classes=3, size=SIZE, seed=6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["head.weight"], third["head.weight"])
    assert not torch.equal(first[STEM], third[STEM])


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("encoder", ["mobilenetv3_small_100", "resnet18"])
def test_activations_neither_vanish_nor_explode_from_scratch(encoder, decoder):
    model = build_model(
        spec(decoder, encoder=encoder, decoder_width=64), num_classes=4, size=SIZE, seed=0
    )
    sizes: dict[str, float] = {}

    def record(name):
        return lambda _module, _inputs, output: sizes.__setitem__(name, rms(output))

    for name, module in model.decoder.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(record(name))
    logits_nkhw = model.train()(torch.randn(4, 3, 96, 96))
    assert len(sizes) >= 8
    assert {name: size for name, size in sizes.items() if not 0.1 < size < 10} == {}
    assert 0.005 < rms(logits_nkhw) < 1
    logits_nkhw.logsumexp(1).mean().backward()
    gradients = [p.grad for p in model.parameters()]
    assert all(g is not None and bool(torch.isfinite(g).all()) for g in gradients)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_few_steps_learn_a_toy_problem(decoder, optimizer):
    model = build_model(spec(decoder), num_classes=2, size=SIZE, seed=0)
    generator = torch.Generator().manual_seed(0)
    target_nhw = torch.randint(0, 2, (8, 4, 4), generator=generator)
    target_nhw = target_nhw.repeat_interleave(16, 1).repeat_interleave(16, 2)
    noise = torch.randn(8, 3, 64, 64, generator=generator)
    images_nchw = noise * 0.3 + (target_nhw * 2.0 - 1)[:, None]
    parameters = list(model.parameters())
    step = {
        "sgd": torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
        "adamw": torch.optim.AdamW(parameters, lr=3e-3),
    }[optimizer]
    torch.manual_seed(0)
    losses = []
    for _ in range(15):
        loss = nn.functional.cross_entropy(model(images_nchw), target_nhw)
        step.zero_grad()
        loss.backward()
        step.step()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(0.693, abs=0.1)
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_batch_of_one_can_train(decoder):
    model = build_model(spec(decoder), num_classes=2, size=SIZE, seed=0).train()
    model(torch.randn(1, 3, 64, 64)).mean().backward()


def test_sizes_off_the_grid_are_told():
    model = build_model(spec(), num_classes=2, size=SIZE, seed=0)
    with pytest.raises(ValueError, match="multiples of 32, got 100 by 96"):
        model(torch.zeros(1, 3, 100, 96))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"encoder": "mobilnetv3_small_100"}, "did you mean mobilenetv3_small_100"),
        ({"encoder": "zzzzzz"}, "timm has no model 'zzzzzz'"),
        ({"encoder": "vit_tiny_patch16_224"}, "strides 4, 8, 16, 32; this encoder has 16"),
        ({"encoder": "inception_v3"}, "no feature maps of 64x96 images"),
        ({"encoder": "ghostnet_100", "decoder": "deeplabv3plus"}, "output stride 16"),
        ({"decoder": "fpnlite"}, "no 'fpnlite'; allowed: fpn_lite, fpn, unet, deeplabv3plus"),
        ({"decoder_width": 20}, "got 20; allowed: a multiple of 8 from 16 to 512"),
        ({"decoder_width": 8}, "got 8; allowed"),
    ],
)
def test_impossible_specs_are_told_before_and_at_building(changes, said):
    wrong = spec(**changes)
    assert any(said in problem for problem in told(wrong))
    with pytest.raises(UsageError) as raised:
        build_model(wrong, num_classes=2, size=SIZE, seed=0)
    assert said in str(raised.value)


def test_an_encoder_without_the_needed_strides_is_told(monkeypatch):
    coarse = EncoderDescription(
        strides=(8, 16), channels=(32, 64), indices=(0, 1), channels_last=False
    )
    monkeypatch.setattr(
        "automl.models.build.describe_encoder", lambda _name, _stride, _size: coarse
    )
    (fault,) = check_spec(spec(), SIZE)
    assert fault.path == ("encoder",)
    problem = fault.problem
    assert "encoder 'test_resnet' with decoder 'fpn_lite'" in problem
    assert "at strides 4, 8, 16, 32; this encoder has 8, 16" in problem


def test_missing_weights_are_told_without_building():
    assert told(spec(pretrained="/no/such/file.pth")) == [
        "pretrained: no such file: /no/such/file.pth"
    ]
    assert told(spec(encoder="regnetx_002", pretrained=True)) == []
    assert told(spec(encoder="efficientnet_b0_g8_gn", pretrained=True)) == [
        "pretrained: timm has no weights for 'efficientnet_b0_g8_gn'"
    ]


def test_all_faults_of_a_spec_are_told_together():
    wrong = ModelSpec(encoder="nope", decoder="nope", decoder_width=3)
    assert len(check_spec(wrong, SIZE)) == 3


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_right_spec_has_no_problems(decoder):
    assert check_spec(spec(decoder, encoder="mobilenetv3_small_100"), SIZE) == []


def test_checking_allocates_no_weights(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("weights were allocated")

    monkeypatch.setattr("automl.models.build.build_encoder", refuse)
    assert check_spec(spec(encoder="resnet152", decoder="unet"), SIZE) == []


def test_one_class_is_no_segmentation():
    with pytest.raises(UsageError, match="at least 2 classes, got 1"):
        build_model(spec(), num_classes=1, size=SIZE, seed=0)


def test_normalisation_is_the_datasets_unless_weights_are_given():
    assert normalisation_for(spec(encoder="resnet18"), OF_DATASET) == OF_DATASET
    given = normalisation_for(spec(encoder="resnet18", pretrained=True), OF_DATASET)
    assert given.mean == pytest.approx((123.675, 116.28, 103.53))
    assert given.std == pytest.approx((58.395, 57.12, 57.375))
    half = normalisation_for(spec(encoder="tf_efficientnet_lite0", pretrained="w.pth"), OF_DATASET)
    assert half.mean == half.std == (127.5, 127.5, 127.5)


def test_encoders_of_every_layout_fit():
    # Stride 1 first (VGG), no stride 2 (ConvNeXt), numbers that do not start at 0 (DLA), NHWC.
    for encoder in ("vgg11_bn", "convnext_atto", "dla34", "mambaout_femto"):
        for decoder in ("fpn_lite", "unet"):
            model = build_model(spec(decoder, encoder=encoder), num_classes=3, size=SIZE, seed=0)
            assert isinstance(model, SegmentationNet)
            with torch.no_grad():
                assert model.eval()(torch.zeros(1, 3, 64, 96)).shape == (1, 3, 64, 96)
