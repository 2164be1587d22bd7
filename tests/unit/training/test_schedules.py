import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl.training.schedules import FINAL_FACTOR, lr_factor


@settings(deadline=None)
@given(total=st.integers(3, 500), warmup_share=st.floats(0, 0.5))
def test_factor_rises_to_one_then_falls_to_its_end(total, warmup_share):
    warmup = int(total * warmup_share)
    factors = [lr_factor(step, total, warmup) for step in range(total)]
    peak = factors.index(max(factors))
    assert max(factors) == pytest.approx(1)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert factors[-1] == pytest.approx(FINAL_FACTOR)
    assert min(factors) > 0


def test_warm_up_is_linear():
    assert [lr_factor(step, 10, 4) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_middle_of_the_cosine_is_the_mean_of_its_ends():
    assert lr_factor(5, 11, 0) == pytest.approx((1 + FINAL_FACTOR) / 2)


def test_single_step_learns():
    assert lr_factor(0, 1, 0) == 1


@pytest.mark.parametrize(("step", "warmup"), [(-1, 0), (5, 0), (0, -1)])
def test_steps_outside_the_run_are_refused(step, warmup):
    with pytest.raises(ValueError, match="must be"):
        lr_factor(step, 5, warmup)
