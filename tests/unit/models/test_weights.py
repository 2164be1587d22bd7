import pytest
import torch
from safetensors.torch import save_file

from automl.errors import TrialError, UsageError
from automl.models.build import build_model
from automl.models.weights import load_encoder_weights
from automl.records import ModelSpec

TINY = ModelSpec(encoder="test_convnext", decoder="fpn_lite", decoder_width=16)


@pytest.fixture
def encoders():
    """One encoder to fill, and another whose weights are given."""
    own, given = (
        build_model(TINY, num_classes=2, size=(64, 64), seed=seed).encoder.model for seed in (0, 1)
    )
    return own, given


def floats(model):
    return {name: v for name, v in model.state_dict().items() if v.is_floating_point()}


def same(first, second) -> bool:
    a, b = floats(first), floats(second)
    return all(torch.equal(a[name], b[name]) for name in a)


def renamed(state, change):
    return {change(name): value.clone() for name, value in state.items()}


@pytest.mark.parametrize(
    "change",
    [
        lambda name: name,
        lambda name: f"module.{name}",
        lambda name: f"module.encoder.model.{name}",
        # timm's own checkpoints nest where its feature extractor flattens.
        lambda name: name.replace("stages_", "stages.").replace("stem_", "stem."),
    ],
)
def test_weights_fit_by_name_whatever_the_container(encoders, tmp_path, change):
    own, given = encoders
    assert not same(own, given)
    state = renamed(floats(given), change)
    # In another order, so that no match by position could succeed.
    save_file(dict(sorted(state.items(), reverse=True)), tmp_path / "w.safetensors")
    load_encoder_weights(own, tmp_path / "w.safetensors")
    assert same(own, given)


def test_weights_under_other_names_fit_by_position(encoders, tmp_path):
    own, given = encoders
    state = {f"layer{i:03}": value for i, value in enumerate(given.state_dict().values())}
    state["classifier"] = torch.zeros(10, 3)
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "w.pth")
    load_encoder_weights(own, tmp_path / "w.pth")
    assert same(own, given)


def test_weights_of_another_network_are_refused_and_change_nothing(encoders, tmp_path):
    own, _ = encoders
    before = {name: value.clone() for name, value in own.state_dict().items()}
    other = ModelSpec(encoder="test_resnet", decoder="fpn_lite", decoder_width=16)
    state = build_model(other, num_classes=2, size=(64, 64), seed=0).encoder.model.state_dict()
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(TrialError, match=r"fits \d+ of \d+ tensors of the encoder, needed: 90%"):
        load_encoder_weights(own, tmp_path / "w.pth")
    assert all(torch.equal(before[name], value) for name, value in own.state_dict().items())


def test_unreadable_files_are_told(encoders, tmp_path):
    own, _ = encoders
    with pytest.raises(UsageError, match="no such file"):
        load_encoder_weights(own, tmp_path / "none.pth")
    for name in ("w.pth", "w.safetensors"):
        (tmp_path / name).write_bytes(b"not weights at all")
        with pytest.raises(TrialError, match="cannot be read as weights"):
            load_encoder_weights(own, tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(TrialError, match="holds a list, not named tensors"):
        load_encoder_weights(own, tmp_path / "list.pth")


def test_a_spec_with_a_path_is_built_with_those_weights(encoders, tmp_path):
    _, given = encoders
    save_file(floats(given), tmp_path / "w.safetensors")
    spec = ModelSpec(
        encoder=TINY.encoder,
        decoder=TINY.decoder,
        decoder_width=16,
        pretrained=str(tmp_path / "w.safetensors"),
    )
    assert same(build_model(spec, num_classes=2, size=(64, 64), seed=9).encoder.model, given)


def test_weights_that_cannot_be_fetched_are_told(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("automl.models.encoders._create", refuse)
    spec = ModelSpec(encoder="test_resnet", decoder="fpn_lite", decoder_width=16, pretrained=True)
    # The shape of the encoder is found out without weights: only the fetching fails.
    monkeypatch.setattr("automl.models.encoders.describe_encoder", _description_of_test_resnet())
    with pytest.raises(TrialError, match=r"could not be fetched \(ConnectionError: no route"):
        build_model(spec, num_classes=2, size=(64, 64), seed=0)


def _description_of_test_resnet():
    from automl.models import encoders

    description = encoders.describe_encoder("test_resnet", 32, (64, 64))
    return lambda _name, _output_stride, _size: description
