import pytest

from automl.errors import SpaceError
from automl.space.experiment import Experiment
from automl.space.loading import load_experiment, shipped_spaces
from automl.stages import preflight
from automl.stages.preflight import model_faults


def told(space, **sections):
    experiment = Experiment.from_json({"space": space, **sections})
    return [str(fault) for fault in model_faults(experiment, frozenset())]


@pytest.mark.parametrize("name", shipped_spaces())
def test_every_shipped_space_can_be_built(name):
    load_experiment(name, check=model_faults)


def test_an_absent_runtime_is_told_with_the_extra_that_has_it(monkeypatch):
    sections = {"target": {"runtime": "openvino"}}
    monkeypatch.setattr(preflight, "versions", lambda: {"openvino": "1", "onnxruntime": "1"})
    monkeypatch.setattr(preflight, "find_spec", lambda name: name)
    assert told({"encoder": "resnet18"}, **sections) == []
    monkeypatch.setattr(preflight, "find_spec", lambda _name: None)
    (fault,) = told({"encoder": "resnet18"}, **sections)
    assert fault.startswith("compress.int8.rungs: nncf is not available here")
    assert "automl[openvino]" in fault
    assert told({"encoder": "resnet18"}, compress={"int8": False}, **sections) == []
    monkeypatch.setattr(preflight, "versions", lambda: {"onnxruntime": "1"})
    (fault,) = told({"encoder": "resnet18"}, **sections)
    assert fault == (
        "target.runtime: given openvino; not available here: install the extra automl[openvino]"
    )
    assert told({"encoder": "resnet18"}) == []


def test_every_name_that_cannot_be_built_is_told_at_once_with_its_place():
    first, second = told({"encoder": {"choice": ["resnet18", "resnet19", "resnt34"]}})
    assert first.startswith("space.encoder.choice[1]: timm has no model 'resnet19'")
    assert second.startswith("space.encoder.choice[2]: timm has no model 'resnt34'")


def test_a_pair_that_does_not_fit_is_told_at_its_encoder():
    space = {"encoder": "ghostnet_100", "decoder": {"choice": ["fpn", "deeplabv3plus"]}}
    (fault,) = told(space)
    assert fault.startswith("space.encoder: decoder 'deeplabv3plus': encoder 'ghostnet_100'")


def test_an_encoder_is_judged_at_the_size_of_the_images():
    space = {"encoder": "mobilevitv2_050"}
    assert told(space, data={"size": [192, 256]}) == []
    (fault,) = told(space, data={"size": [192, 224]})
    assert "no feature maps of 192x224 images" in fault


def test_an_encoder_is_judged_at_the_smaller_sizes_of_rungs():
    half = {"fidelity": {"size": [0.5, 1]}}
    sections = {"data": {"size": [192, 256]}, "train": {"epochs": 3}}
    assert told({"encoder": "resnet18"}, search=half, **sections) == []
    # At 96 x 128 its maps are of other sizes than they should be.
    (fault,) = told({"encoder": "mobilevitv2_050"}, search=half, **sections)
    assert "no feature maps of 96x128 images" in fault
    (fault,) = told({"encoder": "swin_tiny_patch4_window7_224"}, search=half, **sections)
    assert fault.startswith("space.encoder: encoder 'swin_tiny_patch4_window7_224' takes only")
    assert "192x256 (height x width): search.fidelity.size must be 1 all along" in fault
    share = {"fidelity": {"data_share": [0.5, 1]}}
    assert told({"encoder": "swin_tiny_patch4_window7_224"}, search=share, **sections) == []


def test_a_missing_weights_file_is_told_once():
    space = {
        "decoder": {"choice": ["fpn", "unet"]},
        "pretrained": {"choice": [False, "/nowhere.safetensors"]},
    }
    assert told(space) == ["space.pretrained.choice[1]: no such file: /nowhere.safetensors"]


def test_a_batch_needs_an_image_for_each_worker():
    space = {"batch_size": {"choice": [2, 8], "default": 8}}
    problem = "given 2; allowed: >= 4, one image a worker"
    assert told(space, train={"workers": 4}) == [f"space.batch_size.choice[0]: {problem}"]
    assert told(space, train={"workers": 2}) == []
    ranged = {"batch_size": {"int": [2, 8], "default": 8}}
    assert told(ranged, train={"workers": 4}) == [f"space.batch_size: {problem}"]
    assert told({"alpha": 0.5}, train={"workers": 8}) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "space:\n  encoder: resnt18\nsearch: {trials: 0}\n",
            ["2: space.encoder: timm has no model 'resnt18'; did you", "3: search.trials: given 0"],
        ),
        (
            "space:\n  encoder: {choice: [resnet18,\n    resnt18]}\n  decoder: unett\n",
            ["3: space.encoder.choice[1]: timm has no", '4: space.decoder: given "unett"'],
        ),
        # What does not fit the default size or decoder may fit the ones that were meant.
        (
            "data: {size: [192, 250]}\nspace: {encoder: mobilevitv2_050}\n",
            ["1: data.size[1]: given 250"],
        ),
        ("data: 5\nspace: {encoder: mobilevitv2_050}\n", ["1: data: given 5"]),
        (
            "space:\n  decoder: unett\n  encoder: vit_tiny_patch16_224\n",
            ['2: space.decoder: given "unett"'],
        ),
    ],
)
def test_faults_of_networks_are_told_with_those_of_the_file(tmp_path, text, expected):
    file = tmp_path / "my.yaml"
    file.write_text(text)
    with pytest.raises(SpaceError) as caught:
        load_experiment(str(file), check=model_faults)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(expected), lines
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(f"{file}:{start}")
