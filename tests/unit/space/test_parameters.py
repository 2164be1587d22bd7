import json
import pickle
from dataclasses import fields

import pytest

from automl.errors import SpaceError
from automl.records import ModelSpec
from automl.space.limits import nearest
from automl.space.parameter_table import PARAMETERS
from automl.space.parameters import (
    DECLARED_IN_TRAIN,
    DEFAULTS,
    TrialParameters,
    parameters_from,
)
from automl.space.training import TrainSettings


def test_every_parameter_has_limits_a_description_and_an_accepted_default():
    assert list(PARAMETERS) == [field.name for field in fields(TrialParameters)]
    assert list(DEFAULTS) == [name for name in PARAMETERS if name not in DECLARED_IN_TRAIN]
    for name, limits in PARAMETERS.items():
        default = getattr(TrainSettings(), name) if name in DECLARED_IN_TRAIN else DEFAULTS[name]
        assert limits.accept(default)
        assert limits.description.endswith(".")


def test_names_left_out_take_their_defaults():
    params = parameters_from({"encoder": "resnet18", "decoder_width": 128})
    assert (params.encoder, params.decoder_width) == ("resnet18", 128)
    assert params.learning_rate == DEFAULTS["learning_rate"]
    assert params.model_spec() == ModelSpec(
        encoder="resnet18", decoder="fpn_lite", decoder_width=128
    )


def test_whole_numbers_become_floats_where_the_parameter_is_one():
    params = parameters_from({"gamma": 2, "alpha": 1})
    assert json.dumps([params.gamma, params.alpha]) == "[2.0, 1.0]"


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("decoder", "fpnlite", "one of fpn_lite, fpn, unet, deeplabv3plus"),
        ("decoder_width", 20, "a multiple of 8 >= 16 and <= 512"),
        ("decoder_width", 8, "a multiple of 8 >= 16 and <= 512"),
        ("decoder_width", True, "a multiple of 8"),
        ("decoder_width", 64.5, "a multiple of 8"),
        ("pretrained", "yes", "true, false, or the path of a weights file"),
        ("pruning_ratio", 0.95, "a number >= 0 and <= 0.9"),
        ("learning_rate", 0, "a number > 0"),
        ("learning_rate", float("nan"), "a number > 0"),
        ("learning_rate", "1e-3", "a number > 0"),
        ("batch_size", 0, "a whole number >= 1"),
        ("encoder", "", "a name"),
    ],
)
def test_a_value_outside_its_limits_is_refused_with_name_value_and_limits(name, value, allowed):
    with pytest.raises(SpaceError) as caught:
        parameters_from({name: value})
    assert name in str(caught.value)
    assert repr(value) in str(caught.value)
    assert allowed in str(caught.value)


def test_every_bad_value_is_named_at_once():
    with pytest.raises(SpaceError) as caught:
        parameters_from({"alpha": 2, "gamma": -1})
    assert "alpha" in str(caught.value)
    assert "gamma" in str(caught.value)


def test_an_unknown_name_is_refused_with_the_nearest_spelling():
    with pytest.raises(SpaceError, match="did you mean 'learning_rate'"):
        parameters_from({"learning_rat": 0.1})


@pytest.mark.parametrize("value", [True, False, "weights/lite0.pth"])
def test_pretrained_is_a_flag_or_a_path(value):
    assert parameters_from({"pretrained": value}).pretrained == value


def test_trial_parameters_survive_pickling():
    params = TrialParameters(decoder="unet")
    assert pickle.loads(pickle.dumps(params)) == params


def test_nearest_finds_a_slip_and_admits_to_finding_nothing():
    assert nearest("Decodr", PARAMETERS) == "decoder"
    assert nearest("zzz", PARAMETERS) is None
