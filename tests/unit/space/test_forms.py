import json

import pytest

from automl.space.domains import Choice, FloatRange, IntRange
from automl.space.faults import FaultsError
from automl.space.forms import parse_space, space_form

WRITTEN = {
    "encoder": "resnet18",
    "decoder": {"choice": ["fpn", "unet"], "default": "unet"},
    "decoder_width": {"int": [16, 64], "step": 16, "default": 32, "when": {"decoder": ["fpn"]}},
    "learning_rate": {"float": [1e-4, 1e-2], "log": True, "default": 1e-3},
    "batch_size": {"int": [4, 64], "log": True},
    "pretrained": {"choice": [False, True]},
    "gamma": {"choice": [2.0], "when": {"decoder": ["unet"]}},
}


def test_each_form_becomes_its_domain():
    assert parse_space(WRITTEN).domains == {
        "encoder": Choice(options=("resnet18",)),
        "decoder": Choice(options=("fpn", "unet"), default="unet"),
        "decoder_width": IntRange(low=16, high=64, step=16, default=32, when={"decoder": ("fpn",)}),
        "learning_rate": FloatRange(low=1e-4, high=1e-2, log=True, default=1e-3),
        "batch_size": IntRange(low=4, high=64, log=True),
        "pretrained": Choice(options=(False, True)),
        "gamma": Choice(options=(2.0,), when={"decoder": ("unet",)}),
    }


def test_the_written_form_comes_back_as_it_was():
    assert json.dumps(space_form(parse_space(WRITTEN))) == json.dumps(WRITTEN)


def test_a_condition_may_name_a_single_value():
    space = parse_space({"decoder": "fpn", "gamma": {"choice": [1, 2], "when": {"decoder": "fpn"}}})
    assert space.domains["gamma"].when == {"decoder": ("fpn",)}
    assert json.dumps(space.domains["gamma"].options) == "[1.0, 2.0]"


@pytest.mark.parametrize(
    ("written", "faults"),
    [
        ([], ["given []; allowed: a mapping"]),
        ({"encoder": ["a", "b"]}, ['encoder: given ["a", "b"]; allowed: a value, {choice:']),
        ({"encoder": None}, ["encoder: given null; allowed: a value"]),
        ({"encoder": {"choise": ["a"]}}, ["encoder.choise: unknown key", "did you mean choice?"]),
        ({"encoder": {"default": "a"}}, ["encoder: given", "exactly one of"]),
        ({"gamma": {"choice": [1], "float": [0, 1]}}, ["gamma: given", "exactly one of"]),
        ({"gamma": {"float": [0, 1], "step": 1}}, ["gamma.step: unknown key; allowed: float, log"]),
        ({"gamma": {"float": [0]}}, ["gamma.float: given [0]; allowed: two numbers, [low, high]"]),
        ({"gamma": {"float": ["a", 1]}}, ["gamma.float: given", "two numbers"]),
        ({"batch_size": {"int": [1.5, 2]}}, ["batch_size.int: given [1.5, 2]", "whole numbers"]),
        ({"gamma": {"float": [0, 1], "log": "yes"}}, ['gamma.log: given "yes"', "true or false"]),
        ({"gamma": {"float": [0, 1], "default": "x"}}, ['gamma.default: given "x"', "a number"]),
        ({"gamma": {"float": [0, 1], "default": 2}}, ["gamma: the default must be in the domain"]),
        ({"gamma": {"choice": []}}, ["gamma.choice: given []; allowed: a list of values"]),
        ({"gamma": {"choice": [1], "when": "x"}}, ['gamma.when: given "x"; allowed: a mapping']),
        (
            {"gamma": {"choice": [1], "when": {"decoder": []}}, "decoder": "fpn"},
            ["gamma.when.decoder: given []; allowed: a value, or a list"],
        ),
    ],
)
def test_a_fault_says_where_what_was_given_and_what_is_allowed(written, faults):
    with pytest.raises(FaultsError) as caught:
        parse_space(written)
    for part in faults:
        assert part in str(caught.value)


def test_all_faults_are_reported_and_none_that_only_follows_from_another():
    with pytest.raises(FaultsError) as caught:
        parse_space(
            {
                "decoder": {"choise": ["fpn"]},
                "gamma": {"choice": [9], "when": {"decoder": ["fpn"]}},
                "alpha": "a",
            }
        )
    assert [fault.path for fault in caught.value.faults] == [
        ("decoder", "choise"),
        ("gamma",),
        ("alpha",),
    ]
