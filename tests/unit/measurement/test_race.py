"""The fastest is found by turns, and noise does not choose."""

import pytest

from automl.measurement.race import race


def runs_of(**times):
    """Runs that take the given seconds, the first for warming up; counts their calls."""
    calls = dict.fromkeys(times, 0)

    def run(name):
        values = times[name]
        number = calls[name]
        calls[name] += 1
        return values[min(number, len(values) - 1)]

    return {name: lambda name=name: run(name) for name in times}, calls


def test_the_fastest_wins_by_its_least_time():
    """What others do to a machine only ever adds to a time."""
    runs, _ = runs_of(usual=[9, 1.0, 1.0, 1.0], other=[9, 0.8, 3.0, 0.7])
    found = race(runs, rounds=3)
    assert found.winner == "other"
    assert found.seconds == {"usual": 1.0, "other": 0.7}


def test_a_tie_is_for_the_usual_way():
    runs, _ = runs_of(usual=[1.0], other=[0.91])
    assert race(runs, rounds=3).winner == "usual"
    runs, _ = runs_of(usual=[1.0], other=[0.89])
    assert race(runs, rounds=3).winner == "other"


def test_the_time_of_the_warm_up_does_not_count():
    runs, calls = runs_of(usual=[0.001, 1.0], other=[100.0, 0.5])
    assert race(runs, rounds=1).winner == "other"
    assert calls == {"usual": 2, "other": 2}


def test_what_is_far_behind_is_timed_no_more_but_the_usual_way_is():
    runs, calls = runs_of(usual=[5.0], fast=[1.0], slow=[2.0])
    found = race(runs, rounds=4)
    assert found.winner == "fast"
    assert calls == {"usual": 5, "fast": 5, "slow": 2}
    assert found.seconds["slow"] == 2.0


def test_processes_agree_on_each_time():
    """What another measured decides, and both race on in step."""
    told = iter([1.0, 0.5, 0.5, 1.0])
    runs, calls = runs_of(usual=[1.0], other=[7.0])
    assert race(runs, rounds=2, agree=lambda _own: next(told)).winner == "other"
    assert calls == {"usual": 3, "other": 3}


@pytest.mark.parametrize(("runs", "rounds"), [({}, 3), ({"usual": lambda: 1.0}, 0)])
def test_a_race_of_nobody_is_refused(runs, rounds):
    with pytest.raises(ValueError, match="a race needs a run and a round"):
        race(runs, rounds=rounds)
