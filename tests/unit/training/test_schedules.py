import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl.training.schedules import FINAL_FACTOR, Timetable, lr_factor


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


@given(st.lists(st.integers(1, 20), min_size=1, max_size=20), st.floats(0, 30))
def test_a_timetable_places_every_step_and_warms_up_over_whole_epochs(steps, epochs):
    table = Timetable(tuple(steps))
    placed = [table.epoch_of(step) for step in range(table.total)]
    assert placed == [epoch for epoch, count in enumerate(steps) for _ in range(count)]
    firsts = [table.first_step(epoch) for epoch in range(len(steps))]
    assert firsts == [placed.index(epoch) for epoch in range(len(steps))]
    assert table.first_step(len(steps)) == table.total
    assert 0 <= table.warmup_steps(epochs) <= table.total // 2
    whole = int(epochs)
    assert table.warmup_steps(whole) == min(sum(steps[:whole]), table.total // 2)
    assert table.warmup_steps(whole) <= table.warmup_steps(epochs) <= table.warmup_steps(whole + 1)


def test_a_warm_up_counts_in_short_epochs():
    table = Timetable((2, 2, 8, 8, 8, 8))
    assert [table.warmup_steps(epochs) for epochs in (0.5, 1, 2, 2.25, 3)] == [1, 2, 4, 6, 12]
