"""Declared augmentation policies: written, searched, resolved, and told where they are wrong."""

import jsonschema
import pytest

from automl.errors import SpaceError
from automl.space.experiment import Experiment
from automl.space.faults import FaultsError
from automl.space.loading import json_schema, load_experiment
from automl.space.parameters import parameters_from
from automl.space.policies.policy import Step
from automl.space.policies.transforms import TRANSFORMS

DECLARED = {
    "inspection": [
        "horizontal_flip",
        {"affine": {"scale": 0.3, "rotate": 15, "p": 0.8}},
        {"elastic": {"magnitude": 0.5, "p": {"float": [0.0, 0.8]}}},
        {"clahe": None},
    ],
    "rough": [{"jpeg": {"magnitude": {"choice": [0.2, 0.6], "when": {"decoder": "fpn"}}}}],
}
SPACE = {
    "augmentation": {"choice": ["light", "inspection", "rough"]},
    "decoder": {"choice": ["fpn", "unet"]},
}
ELASTIC_P = "augmentation.inspection.elastic.p"
JPEG = "augmentation.rough.jpeg.magnitude"


def experiment(policies=DECLARED, space=SPACE, **sections):
    return Experiment.from_json({"augmentation_policies": policies, "space": space, **sections})


def test_searched_values_are_parameters_where_their_policy_is_taken():
    space = experiment().space
    assert set(space.domains) == {"augmentation", "decoder", ELASTIC_P, JPEG}
    assert space.domains[ELASTIC_P].when == {"augmentation": ("inspection",)}
    assert space.domains[JPEG].when == {"augmentation": ("rough",), "decoder": ("fpn",)}
    assert space.default() == {"augmentation": "light", "decoder": "fpn"}
    taken = space.complete({"augmentation": "inspection"})
    assert taken == {"augmentation": "inspection", "decoder": "fpn", ELASTIC_P: 0.4}
    assert JPEG not in space.complete({"augmentation": "rough", "decoder": "unet"})
    assert JPEG in space.complete({"augmentation": "rough"})


def test_a_policy_that_is_always_taken_makes_no_condition_and_one_never_taken_adds_nothing():
    space = experiment(space={"augmentation": "inspection"}).space
    assert set(space.domains) == {"augmentation", ELASTIC_P}
    assert not space.is_conditional
    assert set(experiment(space={"alpha": 0.5}).space.domains) == {"alpha"}


def test_a_trials_values_make_its_policy():
    declared = experiment()
    taken = {"augmentation": "inspection", ELASTIC_P: 0.25}
    policy = declared.policy(taken)
    assert policy.name == "inspection"
    assert policy.steps == (
        Step(kind="horizontal_flip", p=0.5),
        Step(
            kind="affine",
            p=0.8,
            settings=(("scale", 0.3), ("rotate", 15.0), ("shear", 0.0), ("shift", 0.0)),
        ),
        Step(kind="elastic", p=0.25, settings=(("bend", 0.015),)),
        Step(kind="clahe", p=0.5, settings=(("clip", 4.0),)),
    )
    assert declared.policy({"augmentation": "light"}) is None
    assert declared.policy({}) is None
    rough = declared.policy({"augmentation": "rough", JPEG: 0.6})
    assert rough.steps[0].values["loss"] == pytest.approx(0.54)
    # Where its own condition does not hold, the default of its domain.
    other = declared.policy({"augmentation": "rough", "decoder": "unet"})
    assert other.steps[0].values["loss"] == pytest.approx(0.18)
    assert parameters_from(taken).augmentation == "inspection"


def test_magnitude_stands_for_the_settings_that_are_not_given():
    affine = TRANSFORMS["affine"]
    assert affine.values({}) == {"scale": 0.5, "rotate": 22.5, "shear": 10.0, "shift": 0.1}
    assert affine.values({"rotate": 5.0}) == {"scale": 0, "rotate": 5.0, "shear": 0, "shift": 0}
    assert affine.values({"rotate": 5.0, "magnitude": 1.0})["shear"] == 20.0
    for kind in TRANSFORMS.values():
        for name, setting in kind.settings.items():
            assert setting.limits.accept(kind.values({"magnitude": 1.0})[name])
            assert setting.limits.accept(kind.values({"magnitude": 0.0})[name])


def test_what_is_written_comes_back_and_is_part_of_the_key():
    plain = experiment().to_json()
    assert Experiment.from_json(plain) == experiment()
    assert Experiment.from_json(plain).to_json() == plain
    assert set(plain["space"]) == {"augmentation", "decoder"}
    keys = {
        experiment(policies=policies, space={"alpha": 0.5}).key()
        for policies in ({}, DECLARED, {"rough": DECLARED["rough"]})
    }
    assert len(keys) == 3
    without = Experiment.from_json({"space": {"alpha": 0.5}})
    assert without.key() == experiment(policies={}, space={"alpha": 0.5}).key()


def test_the_schema_allows_what_is_allowed():
    schema = json_schema()
    sound = {"augmentation_policies": DECLARED, "space": SPACE}
    sound["search"] = {"points": [{"augmentation": "inspection", ELASTIC_P: 0.1}]}
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(sound)
    for wrong in ({"elastic": {"q": 1}}, {"elastic": {"p": 2}}, {"elastik": {}}, "elastik"):
        assert not validator.is_valid({**sound, "augmentation_policies": {"a": [wrong]}})


def test_points_name_searched_values():
    points = [{"augmentation": "inspection", ELASTIC_P: 0.1}]
    assert experiment(search={"points": points}).search.points == tuple(points)
    for wrong, told in (
        ({"augmentation": "inspection", ELASTIC_P: 0.9}, "given 0.9; allowed: numbers from 0 to"),
        ({"augmentation": "light", ELASTIC_P: 0.1}, "its condition does not hold here"),
    ):
        with pytest.raises(FaultsError, match=told):
            experiment(search={"points": [wrong]})


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ({"elastik": {}}, "[0].elastik: unknown key; allowed: horizontal_flip, "),
        ({"elastik": {}}, "did you mean elastic?"),
        ({"elastic": {"bent": 0.1}}, "elastic.bent: unknown key; allowed: p, magnitude, bend"),
        ({"elastic": {"p": 1.5}}, "elastic.p: given 1.5; allowed: a number >= 0 and <= 1"),
        ({"elastic": {"bend": 1}}, "elastic.bend: given 1; allowed: a number >= 0 and <= 0.1"),
        ({"elastic": {"p": {"float": [0, 2]}}}, "elastic.p.float[1]: given 2"),
        ({"elastic": {"p": {"flot": [0, 1]}}}, "elastic.p.flot: unknown key"),
        ({"elastic": {"bend": 0.1, "magnitude": 1}}, "elastic.magnitude: without effect"),
        ({"grayscale": {"magnitude": 1}}, "grayscale.magnitude: unknown key; allowed: p"),
        ({"elastic": 0.5}, "elastic: given 0.5; allowed: a mapping with some of p, magnitude"),
        ({"elastic": {}, "clahe": {}}, "[0]: given "),
        (
            {"elastic": {"p": {"choice": [0, 1], "when": {"augmentation": "light"}}}},
            "elastic.p.when.augmentation: it exists for its own policy alone",
        ),
        (
            {"elastic": {"p": {"choice": [0, 1], "when": {"decodr": "fpn"}}}},
            "augmentation_policies.mine[0].elastic.p.when.decodr: unknown key; allowed: ",
        ),
    ],
)
def test_a_fault_names_its_key_the_value_and_what_is_allowed(item, told):
    with pytest.raises(FaultsError) as caught:
        experiment({"mine": [item]}, {"augmentation": {"choice": ["mine", "light"]}})
    assert told in str(caught.value)
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize(
    ("policies", "told"),
    [
        ([], "augmentation_policies: given []; allowed: a mapping"),
        ({"light": ["clahe"]}, "augmentation_policies.light: already built in"),
        ({"My.own": ["clahe"]}, "given 'My.own'; allowed: a name of a-z"),
        ({"mine": []}, "augmentation_policies.mine: given []; allowed: a list of transforms"),
        ({"mine": ["clahe", {"clahe": {}}]}, "mine[1].clahe: a policy has each transform once"),
    ],
)
def test_faults_of_whole_policies_are_told(policies, told):
    with pytest.raises(FaultsError) as caught:
        experiment(policies, {"alpha": 0.5})
    assert told in str(caught.value)


def test_an_undeclared_policy_is_told_with_the_nearest_name_and_its_line(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "augmentation_policies:\n  mine: [{elastic: {p: {float: [0, 1], when: {nothing: 1}}}}]\n"
        "space:\n  augmentation: {choice: [light, mine]}\n"
    )
    with pytest.raises(SpaceError, match=r"mine.yaml:2: .*elastic.p.when.nothing: unknown key"):
        load_experiment(str(file))
    file.write_text("augmentation_policies:\n  mine: [clahe]\nspace:\n  augmentation: miine\n")
    with pytest.raises(SpaceError) as caught:
        load_experiment(str(file))
    assert f'{file}:4: space.augmentation: given "miine"; allowed: one of none, ' in str(
        caught.value
    )
    assert "did you mean mine?" in str(caught.value)
