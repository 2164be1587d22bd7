"""Intervals and tests against other definitions, and against what they promise."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from automl.measurement.resampling import (
    bootstrap_weights,
    holm,
    percentile_interval,
    permutation_p,
    swaps,
)


def test_the_bootstrap_of_a_mean_is_that_of_scipy():
    values = np.random.default_rng(0).exponential(size=60)
    drawn = bootstrap_weights(60, 4000, 1) @ values / 60
    other = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert percentile_interval(drawn) == pytest.approx(tuple(other), abs=0.02)


def test_resamples_draw_as_many_images_and_depend_on_the_seed_alone():
    weights = bootstrap_weights(7, 50, 3)
    assert (weights.sum(axis=1) == 7).all()
    np.testing.assert_array_equal(weights, bootstrap_weights(7, 50, 3))
    assert (weights != bootstrap_weights(7, 50, 4)).any()
    assert set(np.unique(swaps(7, 50, 3))) == {0.0, 1.0}
    for draw in (bootstrap_weights, swaps):
        with pytest.raises(ValueError, match="got 0 and 5"):
            draw(0, 5, 0)


def test_an_interval_of_mostly_missing_values_is_none():
    assert percentile_interval(np.array([1.0, np.nan, np.nan])) is None
    assert percentile_interval(np.array([1.0, 1.0, np.nan])) == (1.0, 1.0)


def test_the_p_value_is_near_that_of_all_relabellings():
    gaps = np.array([0.3, 0.1, -0.05, 0.2, 0.15, 0.02, -0.1, 0.25, 0.11, 0.07])
    signs = np.array(list(product([-1, 1], repeat=len(gaps))))
    exact = (np.abs(signs @ gaps) >= abs(gaps.sum()) - 1e-12).mean()
    drawn = (1 - 2 * swaps(len(gaps), 20000, 0)) @ gaps
    assert permutation_p(float(gaps.sum()), drawn) == pytest.approx(exact, abs=0.005)


def test_the_test_is_as_rare_to_err_as_it_says():
    random = np.random.default_rng(5)
    moved = 1 - 2 * swaps(25, 400, 6)
    gaps = random.normal(size=(600, 25))
    p_values = [permutation_p(float(own.sum()), moved @ own) for own in gaps]
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.08
    assert permutation_p(0.0, np.zeros(9)) == 1.0
    assert permutation_p(9.0, np.array([1.0, np.nan, 2.0])) == 0.5


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_rejects_what_stepping_down_rejects(p_values):
    for alpha in (0.01, 0.05, 0.3):
        rejected, going = set(), True
        for step, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
            going = going and p_values[index] * (len(p_values) - step) <= alpha
            if going:
                rejected.add(index)
        assert {i for i, p in enumerate(holm(p_values)) if p <= alpha} == rejected
