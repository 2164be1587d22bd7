from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl.space.parameter_table import PARAMETERS
from automl.training.schedules import FINAL_FACTOR
from automl.training.shapes import (
    ONE_CYCLE_END,
    ONE_CYCLE_START,
    SHAPES,
    level_after,
    plateau_factor,
)

runs = st.tuples(st.integers(1, 400), st.floats(0, 0.5)).map(lambda of: (of[0], int(of[0] * of[1])))


def factors(name, total, warmup):
    return [SHAPES[name].factor(step, total, warmup) for step in range(total)]


def test_the_shapes_are_those_of_the_space():
    assert set(SHAPES) == set(PARAMETERS["schedule"].options)


@pytest.mark.parametrize("name", SHAPES)
@settings(deadline=None)
@given(run=runs)
def test_every_step_learns_and_none_faster_than_the_peak(name, run):
    total, warmup = run
    found = factors(name, total, warmup)
    peak = SHAPES[name].peak(total, warmup)
    assert found[peak] == 1 == max(found)
    assert found.index(1) == peak or (warmup > 0 and found.index(1) == warmup - 1)
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert min(found) > 0


@pytest.mark.parametrize("name", ["cosine", "one_cycle", "polynomial"])
@given(run=runs)
def test_after_its_peak_the_rate_only_falls(name, run):
    total, warmup = run
    found = factors(name, total, warmup)[SHAPES[name].peak(total, warmup) :]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("name", [name for name in SHAPES if name != "one_cycle"])
def test_warm_ups_are_linear(name):
    assert factors(name, 20, 4)[:4] == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("name", "end"),
    {
        "cosine": FINAL_FACTOR,
        "constant": 1.0,
        "plateau": 1.0,
        "cosine_restarts": FINAL_FACTOR,
        "one_cycle": 1 / ONE_CYCLE_START / ONE_CYCLE_END,
        "polynomial": (1 / 90) ** 0.9,
    }.items(),
)
def test_runs_end_where_their_shape_says(name, end):
    assert factors(name, 100, 10)[-1] == pytest.approx(end)


@pytest.mark.parametrize("name", ["cosine", "constant", "one_cycle", "polynomial"])
def test_no_step_is_far_from_the_next(name):
    found = factors(name, 1000, 100)
    assert max(abs(b - a) for a, b in pairwise(found)) < 0.011


def test_restarts_come_after_one_and_three_sevenths():
    found = factors("cosine_restarts", 80, 10)
    assert [step for step in range(10, 80) if found[step] == 1] == [10, 20, 40]
    assert [found[step] for step in (19, 39, 79)] == pytest.approx([FINAL_FACTOR] * 3)


def test_one_cycle_needs_no_warm_up():
    assert factors("one_cycle", 50, 20) == factors("one_cycle", 50, 0)
    assert factors("one_cycle", 50, 20)[0] == pytest.approx(1 / ONE_CYCLE_START)


@pytest.mark.parametrize("name", SHAPES)
def test_steps_outside_the_run_are_refused(name):
    for step in (-1, 5):
        with pytest.raises(ValueError, match="must be within 0 to 4"):
            SHAPES[name].factor(step, 5, 0)


def test_only_a_plateau_listens_to_scores():
    flat = [0.4] * 20
    assert {name for name in SHAPES if level_after(name, flat) != 1} == {"plateau"}


@given(st.lists(st.floats(0, 1), max_size=40))
def test_a_plateau_never_raises_the_rate(scores):
    found = [plateau_factor(scores[:count]) for count in range(len(scores) + 1)]
    assert found == sorted(found, reverse=True)
    assert all(FINAL_FACTOR <= factor <= 1 for factor in found)


def test_rising_scores_keep_the_rate():
    assert plateau_factor([0.1 * n for n in range(10)]) == 1
    assert plateau_factor([0.5, 0.4, 0.4]) == 1
    assert plateau_factor([0.5, 0.4, 0.4, 0.4]) == 0.5
