import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl.ranking import pareto_front
from automl.scheduling import crowding_distances, front_numbers, keeps, order, rung_epochs

LOSSES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=15)


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


def test_extremes_are_not_crowded_and_others_by_the_gap_between_their_neighbours():
    # Spans 4 and 8; the neighbours of the second point are 3 and 6 apart, of the third 3 and 6.
    distances = crowding_distances([[0, 8], [1, 4], [3, 2], [4, 0]])
    assert np.isinf(distances[[0, 3]]).all()
    assert distances[1:3] == pytest.approx([3 / 4 + 6 / 8, 3 / 4 + 4 / 8])


def test_a_loss_equal_everywhere_does_not_count():
    assert crowding_distances([[1, 7], [1, 7]]).tolist() == [0.0, 0.0]
    assert crowding_distances([[0, 7], [1, 7], [2, 7]])[1] == pytest.approx(1.0)


@given(losses=LOSSES)
def test_order_is_a_permutation_that_never_puts_a_trial_before_one_dominating_it(losses):
    found = order(losses)
    assert sorted(found) == list(range(len(losses)))
    numbers = front_numbers(losses)
    assert [numbers[i] for i in found] == sorted(numbers)


def test_in_a_front_the_least_crowded_come_first_and_ties_by_index():
    # On one front: the extremes, then the middle points by the room around them.
    assert order([[3, 1], [0, 4], [1, 3.9], [2, 2], [4, 0]]) == [1, 4, 3, 0, 2]
    assert order([[1, 1], [1, 1], [1, 1]]) == [0, 1, 2]


def test_with_one_loss_the_order_is_that_of_the_values():
    assert order([[3.0], [1.0], [2.0], [1.0]]) == [1, 3, 2, 0]


@given(losses=LOSSES, eta=st.integers(2, 4))
def test_the_best_share_of_a_rung_goes_on(losses, eta):
    kept = [i for i in range(len(losses)) if keeps(losses, i, eta)]
    assert len(kept) == -(-len(losses) // eta)
    assert set(kept) == set(order(losses)[: len(kept)])


def test_the_first_to_arrive_at_a_rung_goes_on():
    assert keeps([[9.0, 9.0]], 0, 3)


def test_nothing_has_no_order():
    assert order([]) == []
    assert front_numbers([]).tolist() == []
