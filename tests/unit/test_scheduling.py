import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl.ranking import hypervolume, pareto_front
from automl.scheduling import (
    next_to_promote,
    planned_arrivals,
    quota,
    undominated,
)


def losses_of(num_losses):
    row = st.tuples(*[st.integers(0, 4)] * num_losses)
    return st.lists(row, min_size=1, max_size=15)


LOSSES = st.one_of(losses_of(1), losses_of(2), losses_of(3))


def test_one_in_eta_goes_on_and_so_on_to_the_full_training():
    assert [quota(arrived, 3) for arrived in (0, 2, 3, 5, 27)] == [0, 0, 1, 1, 9]
    assert planned_arrivals(27, 2, 3) == (27, 9, 3)
    assert planned_arrivals(5, 0, 3) == (5,)


@given(losses=LOSSES)
def test_the_undominated_are_the_pareto_front(losses):
    assert np.flatnonzero(undominated(losses)).tolist() == pareto_front(losses)


def test_nothing_is_undominated_where_there_is_nothing():
    assert undominated([]).tolist() == []


def promotions(losses):
    """All trials in the order in which they would be promoted."""
    promoted = [False] * len(losses)
    found = []
    while not all(promoted):
        waiting = [not done for done in promoted]
        found.append(next_to_promote(losses, waiting, promoted))
        assert not promoted[found[-1]]
        promoted[found[-1]] = True
    return found


@given(losses=LOSSES)
def test_all_are_promoted_in_time_and_none_before_one_that_dominates_it(losses):
    found = promotions(losses)
    assert sorted(found) == list(range(len(losses)))
    for place, early in enumerate(found):
        for late in found[place + 1 :]:
            assert pareto_front([losses[early], losses[late]]) != [1]


def plain_gains(losses, waiting, promoted, reference):
    """The definition: hypervolume with an undominated waiting trial, minus that without."""
    scaled = np.array(losses, dtype=float)
    spans = np.ptp(scaled, axis=0)
    scaled = (scaled - scaled.min(axis=0)) / np.where(spans > 0, spans, 1)
    chosen = [i for i, done in enumerate(promoted) if done]
    open_ = [i for i, waits in enumerate(waiting) if waits]
    front = [open_[i] for i in pareto_front([losses[i] for i in open_])]
    base = hypervolume(scaled[chosen].reshape(len(chosen), len(losses[0])), reference)
    return {i: hypervolume(scaled[[*chosen, i]], reference) - base for i in front}


@given(losses=LOSSES, data=st.data())
def test_the_one_that_adds_most_volume_to_the_promoted_goes_first(losses, data):
    states = data.draw(st.lists(st.sampled_from("wpg"), min_size=len(losses), max_size=len(losses)))
    states[0] = "w"  # waiting; others are promoted or gone
    waiting = [state == "w" for state in states]
    promoted = [state == "p" for state in states]
    reference = [1.0, *[1.1] * (len(losses[0]) - 1)]
    gains = plain_gains(losses, waiting, promoted, reference)
    found = next_to_promote(losses, waiting, promoted)
    assert gains[found] == pytest.approx(max(gains.values()), abs=1e-9)


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
    with pytest.raises(ValueError, match="no trial of the rung waits"):
        next_to_promote([[1.0]], [False], [True])
