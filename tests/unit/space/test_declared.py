"""Options of the optimizer's steps: a space may name them, and else `train` declares them."""

import copy
import json

import jsonschema
import pytest

from automl.errors import SpaceError
from automl.records import TrialConfig
from automl.space.declared import StepOptions, longest_warmup, never_declared, step_options
from automl.space.experiment import Experiment
from automl.space.fixed import parse_assignments, single_trial
from automl.space.forms import parse_space, space_form
from automl.space.loading import json_schema
from automl.space.parameters import DECLARED_IN_TRAIN, TrialParameters, parameters_from

SPACE = {
    "decoder": {"choice": ["fpn", "unet"]},
    "warmup_epochs": {"int": [0, 3]},
    "accumulate": {"choice": [1, 2]},
    "clip_norm": {"choice": ["none", 0.5, 1.0]},
}
TRAIN = {"warmup_epochs": 2, "accumulate": 4, "clip_norm": 3}


def experiment(space=SPACE, **sections):
    return Experiment.from_json({"space": space, **sections})


def options_of(params, **train):
    given = experiment({"alpha": 0.5}, train=train).train
    return step_options(parameters_from(params), given)


def test_what_a_space_names_is_sampled_in_the_type_of_its_parameter():
    space = experiment().space
    drawn = [space.assign(lambda _, domain, n=n: domain.at(n / 12)) for n in range(12)]
    assert {params["warmup_epochs"] for params in drawn} == {0.0, 1.0, 2.0, 3.0}
    assert {type(params["warmup_epochs"]) for params in drawn} == {float}
    assert {params["accumulate"] for params in drawn} == {1, 2}
    assert {params["clip_norm"] for params in drawn} == {"none", 0.5, 1.0}
    # A whole number that is written, drawn or sampled by a proposal is one trial, not two.
    keys = {
        TrialConfig(number=0, seed=0, params=params).trial_id
        for params in (
            parse_space({"warmup_epochs": 2}).default(),
            parse_space({"warmup_epochs": 2.0}).default(),
            parse_space({"warmup_epochs": {"int": [1, 3]}}).default(),
            parse_space({"warmup_epochs": {"int": [0, 3]}}).complete({"warmup_epochs": 2}),
            parse_space({"warmup_epochs": {"choice": [2, 1]}}).default(),
        )
    }
    assert len(keys) == 1


@pytest.mark.parametrize(
    "form",
    [
        {"warmup_epochs": 0.5},
        {"warmup_epochs": {"int": [0, 4], "step": 2, "default": 2}},
        {"warmup_epochs": {"float": [0.0, 3.0]}},
        {"accumulate": {"int": [1, 16], "log": True}},
        {"clip_norm": "none"},
        {"clip_norm": {"float": [0.1, 10.0], "log": True}},
        {"clip_norm": {"choice": ["none", 1.0], "default": 1.0}},
    ],
)
def test_every_form_survives_and_is_in_the_schema(form):
    assert space_form(parse_space(form)) == form
    jsonschema.Draft202012Validator(json_schema()).validate({"space": form})
    assert experiment(form).to_json()["space"] == form


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"warmup_epochs": -1}, "space.warmup_epochs: given -1; allowed: a number >= 0"),
        ({"warmup_epochs": "none"}, "space.warmup_epochs: given"),
        ({"warmup_epochs": {"int": [0.5, 2]}}, "space.warmup_epochs.int: given [0.5, 2]"),
        ({"accumulate": 0}, "space.accumulate: given 0; allowed: a whole number >= 1"),
        ({"accumulate": 1.5}, "space.accumulate: given 1.5; allowed: a whole number >= 1"),
        ({"accumulate": {"float": [1, 2]}}, "space.accumulate.float: this parameter takes int or"),
        ({"clip_norm": 0}, "space.clip_norm: given 0; allowed: a number > 0, or none"),
        ({"clip_norm": "off"}, 'space.clip_norm: given "off"; allowed: a number > 0, or none'),
        ({"clip_norm": {"int": [1, 2]}}, "space.clip_norm.int: this parameter takes float or"),
        ({"clip_norm": {"float": ["none", 1]}}, "space.clip_norm.float: given"),
    ],
)
def test_what_is_no_option_is_refused_by_parser_and_schema(form, told):
    with pytest.raises(SpaceError) as caught:
        experiment(form)
    assert str(caught.value).startswith(told)
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid({"space": form})


def test_the_sampled_value_holds_and_where_there_is_none_the_declared_one():
    assert options_of({}) == StepOptions(warmup_epochs=1.0, accumulate=1, clip_norm=1.0)
    assert options_of({}, **TRAIN) == StepOptions(warmup_epochs=2.0, accumulate=4, clip_norm=3.0)
    sampled = {"warmup_epochs": 0, "accumulate": 1, "clip_norm": "none"}
    expected = StepOptions(warmup_epochs=0.0, accumulate=1, clip_norm=None)
    assert options_of(sampled, **TRAIN) == expected
    assert options_of({"clip_norm": 0.5}, clip_norm="none").clip_norm == 0.5


@pytest.mark.parametrize("written", ["none", None])
def test_no_clipping_can_be_declared_and_has_one_form(written):
    given = experiment({"alpha": 0.5}, train={"clip_norm": written})
    assert given.to_json()["train"]["clip_norm"] == "none"
    assert Experiment.from_json(given.to_json()) == given
    assert given.key() == experiment({"alpha": 0.5}, train={"clip_norm": "none"}).key()
    assert given.key() != experiment({"alpha": 0.5}).key()
    assert step_options(TrialParameters(), given.train).clip_norm is None
    plain = {"space": {"alpha": 0.5}, "train": {"clip_norm": written}}
    jsonschema.Draft202012Validator(json_schema()).validate(plain)


def test_a_space_without_them_leaves_the_keys_of_studies_and_trials_as_they_were():
    """The digests are those of before a space could name them."""
    plain = experiment({"alpha": 0.5}, train=TRAIN)
    assert plain.key() == "8c9c3c42b8"
    assert TrialConfig(number=3, seed=7, params=plain.space.default()).trial_id == "0003-68126233"
    assert not set(DECLARED_IN_TRAIN) & set(TrialParameters().values())
    named = experiment({"alpha": 0.5, "accumulate": 4}, train=TRAIN)
    assert named.key() != plain.key()


def test_a_parameter_without_a_declared_stand_in_is_never_left_out():
    with pytest.raises(SpaceError, match="gamma: given None"):
        TrialParameters(gamma=None)


def test_assignments_know_their_forms():
    words = ["warmup_epochs=0.5,accumulate=2", "clip_norm=none"]
    found = parse_assignments(words, "--params")
    assert found == {"warmup_epochs": 0.5, "accumulate": 2, "clip_norm": "none"}
    assert parse_assignments(["clip_norm=2"], "--params") == {"clip_norm": 2.0}
    single = single_trial(experiment(train=TRAIN), found, seed=0)
    assert single.space.default() == found
    assert single.train.accumulate == 4
    assert step_options(parameters_from(single.space.default()), single.train).accumulate == 2


def test_the_longest_warm_up_is_the_one_that_some_trial_has():
    def longest(space, **train):
        made = experiment({"alpha": 0.5, **space}, train=train)
        return longest_warmup(made.space, made.train)

    assert longest({}, warmup_epochs=2) == ("train", 2.0)
    assert longest({"warmup_epochs": {"int": [0, 3]}}, warmup_epochs=9) == ("space", 3.0)
    assert longest({"warmup_epochs": 0}, warmup_epochs=9) == ("space", 0.0)
    where = {"optimizer": {"choice": ["adamw", "sgd"]}}
    where["warmup_epochs"] = {"choice": [0, 3], "when": {"optimizer": ["sgd"]}}
    assert longest(where, warmup_epochs=9) == ("train", 9.0)
    assert longest(where, warmup_epochs=2) == ("space", 3.0)


def test_what_is_declared_for_no_trial_is_known():
    space = copy.deepcopy(SPACE)
    space["clip_norm"]["when"] = {"decoder": ["fpn"]}
    given = experiment(space, train=TRAIN)
    assert never_declared(given.space, given.train) == ("warmup_epochs", "accumulate")
    silent = experiment(space)
    assert never_declared(silent.space, silent.train) == ()
    assert json.loads(json.dumps(given.to_json()))["train"]["clip_norm"] == 3.0
