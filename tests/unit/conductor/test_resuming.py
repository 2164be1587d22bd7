"""A search that is killed at any moment ends as one that never was."""

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

EVENTFUL = {
    "search": {"trials": 12, "sampler": "tpe", "eta": 2, "points": [{"alpha": 0.95}]},
    "constraints": {"latency_ms": 20},
}


def outcome(conductor):
    """All that a search found, seconds and wordings aside."""
    return {
        result.config.trial_id: (result.status, result.epochs, result.measurements)
        for result in conductor.results()
    }


def assert_same_search(killed, undisturbed):
    found, expected = outcome(killed[1]), outcome(undisturbed[1])
    assert found == expected
    assert list(found) == list(expected)
    assert len(killed[0].epochs()) == len(set(killed[0].epochs()))
    assert sorted(killed[0].trained) == sorted(undisturbed[0].trained)


def finished(world):
    conductor = world.search()
    assert conductor is not None
    return world, conductor


def test_the_undisturbed_search_has_every_kind_of_end(world, experiment):
    """The next test means little on a search where nothing happens."""
    _, conductor = finished(world(experiment(**EVENTFUL)))
    snapshot = conductor.snapshot()
    assert min(snapshot.completed, snapshot.paused, snapshot.infeasible, snapshot.failed) >= 1
    assert snapshot.ended + snapshot.paused == 12
    assert any(event["kind"] == "promoted" for event in conductor._journal.read())


def test_a_kill_at_any_event_changes_nothing_in_the_end(world, experiment):
    undisturbed = finished(world(experiment(**EVENTFUL)))
    num_events = len(undisturbed[0].events)
    for place in range(num_events):
        for moment in ({"dies_before": place}, {"dies_after": place + 1}):
            killed = world(experiment(**EVENTFUL))
            assert killed.search(**moment) is None
            assert_same_search(finished(killed), undisturbed)


@settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
@given(
    deaths=st.lists(st.tuples(st.sampled_from(["dies_before", "dies_after"]), st.integers(0, 9)))
)
@example(deaths=[("dies_after", 1)] * 60)
def test_many_kills_change_nothing_either(world, experiment, deaths):
    plain = {**EVENTFUL, "search": {**EVENTFUL["search"], "sampler": "random"}}
    undisturbed = finished(world(experiment(**plain)))
    killed = world(experiment(**plain))
    for moment, events_later in deaths:
        killed.search(**{moment: len(killed.events) + events_later})
    assert_same_search(finished(killed), undisturbed)


def test_a_finished_search_has_nothing_left_to_do(world, experiment):
    done, conductor = finished(world(experiment()))
    before = list(done.events)
    again = done.search()
    assert done.events == before
    assert outcome(again) == outcome(conductor)


def test_more_trials_extend_a_finished_search(world, experiment):
    short = finished(world(experiment(search={"trials": 4})))[0]
    long = world(experiment(search={"trials": 6}))
    long.events, long.checkpoints = short.events, short.checkpoints
    extended = finished(long)
    assert len(extended[1].results()) == 6
    assert set(extended[0].trained).isdisjoint(short.trained)


def test_fewer_trials_than_there_are_leave_no_time_below_zero(world, experiment):
    world_of_six = finished(world(experiment()))[0]
    fewer = world(experiment(search={"trials": 2}))
    fewer.events = [{**event, "elapsed": 60.0} for event in world_of_six.events]
    snapshot = finished(fewer)[1].snapshot()
    assert snapshot.ended + snapshot.paused == 6
    assert snapshot.time_left_s == 0
    assert snapshot.waiting == 0
