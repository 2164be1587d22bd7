import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl.ranking import hypervolume, pareto_front
from automl.scheduling import (
    front_numbers,
    next_to_promote,
    planned_arrivals,
    quota,
    rung_epochs,
)


def losses_of(num_losses):
    row = st.tuples(*[st.integers(0, 4)] * num_losses)
    return st.lists(row, min_size=1, max_size=15)


LOSSES = st.one_of(losses_of(1), losses_of(2), losses_of(3))


@pytest.mark.parametrize(
    ("min_epochs", "max_epochs", "eta", "rungs"),
    [(1, 12, 3, (1, 3, 9)), (2, 12, 3, (2, 6)), (1, 9, 3, (1, 3)), (4, 4, 2, ()), (5, 2, 3, ())],
)
def test_rungs_grow_by_eta_and_end_before_the_last_epoch(min_epochs, max_epochs, eta, rungs):
    assert rung_epochs(min_epochs, max_epochs, eta) == rungs


@pytest.mark.parametrize(("min_epochs", "eta"), [(0, 3), (1, 1)])
def test_rungs_that_would_never_grow_are_refused(min_epochs, eta):
    with pytest.raises(ValueError, match="must hold"):
        rung_epochs(min_epochs, 12, eta)


def test_one_in_eta_goes_on_and_so_on_to_the_full_training():
    assert [quota(arrived, 3) for arrived in (0, 2, 3, 5, 27)] == [0, 0, 1, 1, 9]
    assert planned_arrivals(27, 2, 3) == (27, 9, 3)
    assert planned_arrivals(5, 0, 3) == (5,)


@given(losses=LOSSES)
def test_each_number_is_that_of_the_front_of_what_is_left(losses):
    numbers = front_numbers(losses)
    left = list(range(len(losses)))
    number = 0
    while left:
        front = [left[i] for i in pareto_front([losses[i] for i in left])]
        assert [i for i in left if numbers[i] == number] == front
        left = [i for i in left if i not in front]
        number += 1


def test_nothing_has_no_fronts():
    assert front_numbers([]).tolist() == []


def promotions(losses):
    """All trials in the order in which they would be promoted."""
    promoted = [False] * len(losses)
    found = []
    while not all(promoted):
        found.append(next_to_promote(losses, promoted))
        assert not promoted[found[-1]]
        promoted[found[-1]] = True
    return found


@given(losses=LOSSES)
def test_all_are_promoted_in_time_and_none_before_one_that_dominates_it(losses):
    found = promotions(losses)
    assert sorted(found) == list(range(len(losses)))
    numbers = front_numbers(losses)
    assert [numbers[i] for i in found] == sorted(numbers)


def plain_gains(losses, promoted, reference):
    """The definition: hypervolume with a trial of the first open front, minus that without."""
    scaled = np.array(losses, dtype=float)
    spans = np.ptp(scaled, axis=0)
    scaled = (scaled - scaled.min(axis=0)) / np.where(spans > 0, spans, 1)
    numbers = front_numbers(losses)
    front = min(n for n, done in zip(numbers, promoted, strict=True) if not done)
    chosen = [i for i, done in enumerate(promoted) if done and numbers[i] == front]
    waiting = [i for i, done in enumerate(promoted) if not done and numbers[i] == front]
    base = hypervolume(scaled[chosen].reshape(len(chosen), len(losses[0])), reference)
    return {i: hypervolume(scaled[[*chosen, i]], reference) - base for i in waiting}


@given(losses=st.one_of(losses_of(2), losses_of(3)), data=st.data())
def test_of_a_front_the_one_that_adds_most_volume_goes_first(losses, data):
    promoted = data.draw(st.lists(st.booleans(), min_size=len(losses), max_size=len(losses)))
    if all(promoted):
        promoted[0] = False
    reference = [1.0, *[1.1] * (len(losses[0]) - 1)]
    gains = plain_gains(losses, promoted, reference)
    assert gains[next_to_promote(losses, promoted)] == pytest.approx(max(gains.values()))


def test_the_front_is_covered_before_it_is_crowded():
    # Accuracy as a loss, then latency: two twins in the middle, one fast, one dear.
    losses = [[0.50, 0.50], [0.51, 0.49], [0.9, 0.1], [0.1, 0.9], [1.0, 1.0], [0.0, 1.0]]
    assert promotions(losses)[0] in (0, 1)
    twins = [promotions(losses).index(0), promotions(losses).index(1)]
    assert max(twins) > 2


def test_the_least_accurate_trial_goes_last_in_its_front_however_cheap():
    losses = [[0.98, 1.0], [0.5, 20.0], [0.6, 15.0], [0.4, 40.0]]
    assert promotions(losses)[-1] == 0


def test_the_most_accurate_trial_may_go_on_although_it_is_the_dearest():
    losses = [[0.1, 40.0], [0.95, 39.0], [1.0, 1.0]]
    assert promotions(losses)[0] == 0


def test_with_one_loss_the_order_is_that_of_the_values_and_ties_by_index():
    assert promotions([[3.0], [1.0], [2.0], [1.0]]) == [1, 3, 2, 0]
    assert promotions([[1.0, 1.0]] * 3) == [0, 1, 2]


def test_a_rung_without_anyone_waiting_has_no_next():
    with pytest.raises(ValueError, match="every trial"):
        next_to_promote([[1.0]], [True])
