from hypothesis import given
from hypothesis import strategies as st

from automl.conductor.tally import Tally
from automl.ranking import pareto_front

SCORES = st.lists(
    st.tuples(st.integers(0, 5), st.tuples(st.integers(0, 4), st.integers(0, 4))), max_size=30
)


@given(scores=SCORES)
def test_the_front_is_that_of_the_latest_losses_of_all_trials(scores):
    tally = Tally()
    latest = {}
    for number, row in scores:
        tally.score(number, row)
        latest[number] = row
        assert tally.front_size == len(pareto_front(list(latest.values())))
    leader = tally.leader()
    assert (leader is None) == (not latest)
    if leader is not None:
        assert leader[1][0] == min(row[0] for row in latest.values())


def test_trials_without_a_change_of_the_front_are_counted_once_each():
    tally = Tally()
    tally.score(0, (1.0, 1.0))
    tally.judge(0)
    assert tally.front_unchanged_for == 0
    for number in (1, 2):
        tally.score(number, (2.0, 2.0))
        tally.judge(number)
        tally.judge(number)
    assert tally.front_unchanged_for == 2
    tally.score(3, (0.5, 3.0))
    assert tally.front_unchanged_for == 0
