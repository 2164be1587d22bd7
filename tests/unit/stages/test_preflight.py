import pytest

from automl.errors import SpaceError
from automl.space.experiment import Experiment
from automl.space.loading import load_experiment, shipped_spaces
from automl.stages.preflight import check_models


def experiment_of(space, **sections):
    return Experiment.from_json({"space": space, **sections})


@pytest.mark.parametrize("name", shipped_spaces())
def test_every_shipped_space_can_be_built(name):
    check_models(load_experiment(name))


def test_every_name_that_cannot_be_built_is_told_at_once():
    space = {"encoder": {"choice": ["resnet18", "resnet19", "resnt34"]}}
    with pytest.raises(SpaceError) as caught:
        check_models(experiment_of(space))
    assert "resnet19" in str(caught.value)
    assert "resnt34" in str(caught.value)


def test_a_missing_weights_file_is_told_once():
    space = {
        "decoder": {"choice": ["fpn", "unet"]},
        "pretrained": {"choice": [False, "/nowhere.safetensors"]},
    }
    with pytest.raises(SpaceError) as caught:
        check_models(experiment_of(space))
    assert str(caught.value).count("/nowhere.safetensors") == 1


def test_a_batch_needs_an_image_for_each_worker():
    space = {"batch_size": {"choice": [2, 8], "default": 8}}
    with pytest.raises(SpaceError, match="batch_size: given 2; allowed: >= 4"):
        check_models(experiment_of(space, train={"workers": 4}))
    check_models(experiment_of(space, train={"workers": 2}))
    ranged = {"batch_size": {"int": [2, 8], "default": 8}}
    with pytest.raises(SpaceError, match="batch_size: given 2; allowed: >= 4"):
        check_models(experiment_of(ranged, train={"workers": 4}))
    check_models(experiment_of({"alpha": 0.5}, train={"workers": 8}))
