import math

import pytest

from automl.measurement.repeats import mean_interval, t_bound


@pytest.mark.parametrize(
    ("degrees", "bound"),
    # Percentage points of Student's t, two-sided 5 %: Fisher and Yates 1963, table III.
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (30, 2.042)],
)
def test_the_bounds_are_those_of_the_printed_table(degrees, bound):
    assert t_bound(degrees) == pytest.approx(bound, abs=5e-4)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 10, 51, 1000])
def test_the_bounds_are_those_of_an_independent_implementation(degrees):
    stats = pytest.importorskip("scipy.stats")
    assert t_bound(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-9)


def test_an_interval_follows_the_definition():
    interval = mean_interval([0.50, 0.52, 0.57])
    assert interval.mean == pytest.approx(0.53)
    # Squared deviations 0.0009, 0.0001 and 0.0016: variance 0.0013.
    assert interval.half_width == pytest.approx(4.3027 * math.sqrt(0.0013 / 3), rel=1e-4)
    assert interval.count == 3


def test_equal_values_leave_no_doubt_and_one_value_says_nothing_of_it():
    assert mean_interval([0.5, 0.5]).half_width == 0
    single = mean_interval([0.5])
    assert (single.mean, single.half_width, single.count) == (0.5, None, 1)


def test_no_value_and_no_freedom_are_refused():
    with pytest.raises(ValueError, match="at least one value"):
        mean_interval([])
    with pytest.raises(ValueError, match="got 0"):
        t_bound(0)
