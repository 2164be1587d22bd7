"""Students and families as they are declared."""

import pytest

from automl.errors import SpaceError
from automl.space.experiment import Experiment


def experiment(**compress):
    return Experiment.from_json({"space": {"alpha": 0.5}, "compress": compress})


def test_a_family_is_students_that_differ_by_their_ratio():
    family = {"ratios": [0.25, 0.7], "epochs": 4, "importance": "l1", "scope": "global", "steps": 2}
    compress = experiment(students=[], family=family).compress
    assert [student.pruning_ratio for student in compress.all_students] == [0.25, 0.7]
    assert {(s.importance, s.scope, s.steps) for s in compress.all_students} == {
        ("l1", "global", 2)
    }
    assert [compress.epochs_of(student) for student in compress.all_students] == [4, 4]


def test_epochs_are_those_of_compress_where_none_are_given():
    compress = experiment(epochs=9, family={"ratios": [0.5]}).compress
    assert [compress.epochs_of(student) for student in compress.all_students] == [9, 9]


def test_what_is_left_at_its_default_does_not_change_a_study():
    plain = experiment(students=[{"pruning_ratio": 0.25}])
    told = experiment(
        students=[{"pruning_ratio": 0.25, "importance": "group_norm", "steps": 1, "epochs": None}],
        family=None,
        min_pruning_speedup=1.05,
        feature_weight=0.0,
        teachers="own",
        teacher_cache=None,
    )
    assert plain.key() == told.key() == Experiment.from_json(plain.to_json()).key()
    declared = plain.to_json()["compress"]
    assert declared["students"] == [{"decoder_width_factor": 1.0, "pruning_ratio": 0.25}]
    assert not {
        "family",
        "min_pruning_speedup",
        "feature_weight",
        "teachers",
        "teacher_cache",
    } & set(declared)
    other = experiment(students=[{"pruning_ratio": 0.25, "importance": "taylor"}])
    assert other.key() != plain.key()
    assert Experiment.from_json(other.to_json()) == other


@pytest.mark.parametrize(
    ("compress", "told"),
    [
        ({"students": [{"importance": "taylr"}]}, "compress.students[0].importance"),
        ({"students": [{"steps": 7}]}, "an epoch for each step"),
        ({"family": {"steps": 3, "epochs": 2}}, "compress.family.steps"),
        ({"family": {"ratios": [0.5, 0.5]}}, "each ratio once"),
        ({"family": {"ratios": [0.95]}}, "compress.family.ratios"),
        ({"min_pruning_speedup": 0.9}, "compress.min_pruning_speedup"),
        ({"feature_weight": -1.0}, "compress.feature_weight"),
        ({"teacher_cache": {"views": 0}}, "compress.teacher_cache.views"),
        ({"teacher_cache": {"max_gb": 0}}, "compress.teacher_cache.max_gb"),
        ({"teacher_cache": {}, "feature_weight": 0.5}, "null where feature_weight is above 0"),
    ],
)
def test_what_cannot_be_is_told_with_its_place(compress, told):
    with pytest.raises(SpaceError) as caught:
        experiment(**compress)
    assert told in str(caught.value)
