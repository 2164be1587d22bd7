from typing import get_args

import pytest

from automl.sampling.choice import (
    MOST_TRIALS_FOR_GP,
    MOST_TRIALS_FOR_TPE,
    STARTUP,
    enough,
    population,
    resolve_sampler,
)
from automl.space.experiment import SearchSettings
from automl.space.forms import parse_space


def test_experiments_and_proposals_know_the_same_samplers():
    annotation = SearchSettings.model_fields["sampler"].annotation
    assert sorted(get_args(annotation)) == sorted(["auto", *STARTUP])


@pytest.mark.parametrize(
    ("num_trials", "expected"),
    [
        (None, "tpe"),
        (7, "qmc"),  # six searched parameters: all spent before there is enough to learn from
        (8, "gp"),
        (MOST_TRIALS_FOR_GP, "gp"),
        (MOST_TRIALS_FOR_GP + 1, "tpe"),
        (MOST_TRIALS_FOR_TPE, "tpe"),
        (MOST_TRIALS_FOR_TPE + 1, "nsga2"),
    ],
)
def test_auto_goes_by_the_number_of_trials(lab, num_trials, expected):
    assert resolve_sampler("auto", num_trials, lab.space) == expected


def test_auto_has_nothing_to_learn_where_everything_is_tried():
    space = parse_space({"encoder": {"choice": list("abcdefgh")}, "gamma": {"choice": [0, 1]}})
    assert resolve_sampler("auto", 15, space) == "gp"
    assert resolve_sampler("auto", 16, space) == "qmc"


@pytest.mark.parametrize("sampler", STARTUP)
def test_a_named_sampler_is_taken_as_it_is(lab, sampler):
    assert resolve_sampler(sampler, 1, lab.space) == sampler


def test_unknown_names_are_refused(lab):
    with pytest.raises(ValueError, match=r"one of auto, tpe, .*, qmc, got 'tpee'"):
        resolve_sampler("tpee", 10, lab.space)


def test_enough_is_a_trial_more_than_there_are_parameters_and_a_generation_to_breed_from(lab):
    assert len(lab.space.searched) == 6
    assert enough("tpe", lab.space, 100) == 7
    assert enough("tpe", parse_space({"alpha": {"float": [0, 1]}}), 100) == STARTUP["tpe"]
    assert enough("nsga2", lab.space, 300) == population(300) == 30
    assert [population(count) for count in (None, 20, 5000)] == [10, 10, 50]
