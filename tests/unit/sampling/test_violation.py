import math

from hypothesis import given
from hypothesis import strategies as st

from automl.sampling.violation import FAILED, met, missed

BOUNDS = {"latency_ms": 30.0, "size_mb": 2.0}
over = st.floats(0.01, 1e6)


@given(first=over, second=over, scale=st.floats(1e-3, 1e3))
def test_a_larger_share_of_the_bound_weighs_more_whatever_the_unit(first, second, scale):
    small, large = sorted((first, second))
    less = missed({"latency_ms": 30.0}, {"latency_ms": small})["latency_ms"]
    more = missed({"latency_ms": 30.0}, {"latency_ms": large})["latency_ms"]
    assert 0 < less <= more < 1
    other = missed({"latency_ms": 30.0 * scale}, {"latency_ms": large * scale})["latency_ms"]
    assert math.isclose(other, more, rel_tol=1e-9)


@given(st.dictionaries(st.sampled_from([*BOUNDS, "macs_g"]), st.floats(allow_nan=True)))
def test_every_trial_has_the_same_finite_constraints_and_a_bad_one_violates_some(violations):
    constraints = missed(BOUNDS, violations)
    assert list(constraints) == list(met(BOUNDS)) == ["latency_ms", "size_mb", FAILED]
    assert all(map(math.isfinite, constraints.values()))
    assert any(value > 0 for value in constraints.values())
    assert all(value <= 0 for value in met(BOUNDS).values())


def test_a_failure_weighs_as_much_as_missing_every_bound_by_far():
    worst = missed(BOUNDS, {"latency_ms": 1e30, "size_mb": math.inf})
    assert worst[FAILED] < 0
    assert missed(BOUNDS, {})[FAILED] >= sum(v for v in worst.values() if v > 0)


def test_a_constraint_without_a_known_bound_counts_as_a_failure():
    assert missed({}, {"latency_ms": 3.0}) == {FAILED: 1.0}
    assert missed(BOUNDS, {"macs_g": 3.0})[FAILED] == 2.0


def test_what_is_met_stays_met():
    constraints = missed(BOUNDS, {"latency_ms": -15.0, "size_mb": 2.0})
    assert constraints == {"latency_ms": -0.5, "size_mb": 0.5, FAILED: -1.0}
