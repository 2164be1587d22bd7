import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl.ranking import choose_best, hypervolume, knee, pareto_front

# Few different values, so that ties and duplicates are common.
LOSSES = st.integers(1, 3).flatmap(
    lambda d: st.lists(st.lists(st.integers(0, 4), min_size=d, max_size=d), min_size=1, max_size=12)
)


def dominates(left, right):
    """Whether `left` is at least as good everywhere and better somewhere: the definition."""
    pairs = list(zip(left, right, strict=True))
    return all(mine <= yours for mine, yours in pairs) and any(
        mine < yours for mine, yours in pairs
    )


@given(losses=LOSSES)
def test_front_is_exactly_the_undominated_set(losses):
    undominated = [
        i for i, row in enumerate(losses) if not any(dominates(other, row) for other in losses)
    ]
    assert pareto_front(losses) == undominated


def test_equal_points_are_all_on_the_front():
    assert pareto_front([[1, 1], [1, 1], [2, 1]]) == [0, 1]


def test_an_empty_set_has_an_empty_front_without_volume():
    assert pareto_front([]) == []
    assert hypervolume([], [1.0, 1.0]) == 0.0


@given(losses=LOSSES, data=st.data())
def test_a_better_or_another_point_never_lowers_the_hypervolume(losses, data):
    reference = [5] * len(losses[0])
    volume = hypervolume(losses, reference)
    index = data.draw(st.integers(0, len(losses) - 1))
    closer = [row if i != index else [x - 1 for x in row] for i, row in enumerate(losses)]
    assert hypervolume(closer, reference) > volume - 1e-9
    assert hypervolume(losses[:-1], reference) <= volume
    assert hypervolume([losses[i] for i in pareto_front(losses)], reference) == pytest.approx(
        volume
    )


def test_points_beyond_the_reference_add_nothing():
    assert hypervolume([[1, 1], [0, 9], [9, 0], [2, 1]], [2, 2]) == 1.0


def test_the_knee_is_the_point_that_bulges_most():
    # In units of the span: (0, 1), (0.1, 0.3), (0.5, 0.25), (1, 0), and a dominated point.
    losses = [[0, 10], [1, 3], [5, 2.5], [10, 0], [9, 9]]
    assert knee(losses) == 1
    assert knee([[10 * a, b / 7] for a, b in losses]) == 1
    assert knee(losses[::-1]) == 3


def test_the_knee_of_one_point_or_of_equal_ones_is_the_first():
    assert knee([[3, 4]]) == 0
    assert knee([[3, 4], [3, 4]]) == 0
    with pytest.raises(ValueError, match="at least one point"):
        knee([])


def test_the_best_is_the_fastest_that_is_accurate_enough():
    accuracies, latencies = [0.50, 0.495, 0.47], [20.0, 10.0, 5.0]
    assert choose_best(accuracies, latencies, 1.0) == 0
    assert choose_best(accuracies, latencies, 0.98) == 1
    assert choose_best(accuracies, latencies, 0.9) == 2


def test_of_equally_fast_models_the_best_is_the_more_accurate():
    assert choose_best([0.5, 0.6, 0.6], [1.0, 1.0, 1.0], 0.5) == 1
    with pytest.raises(ValueError, match="at least one model"):
        choose_best([], [], 0.98)


@pytest.mark.parametrize(
    ("losses", "message"), [([[1, float("nan")]], "NaN"), ([1.0, 2.0], "rows of D numbers")]
)
def test_what_cannot_be_compared_is_refused(losses, message):
    with pytest.raises(ValueError, match=message):
        pareto_front(losses)


def test_a_reference_of_another_dimension_is_refused():
    with pytest.raises(ValueError, match="must have 2 losses"):
        hypervolume(np.ones((1, 2)), [1.0])
