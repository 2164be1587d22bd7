"""Ray Tune's seams, without a running Ray."""

import pickle
from types import SimpleNamespace

import pytest

from automl.conductor.events import verdict_on
from automl.distributed.fleet import FixedFleet
from automl.errors import StudyError
from automl.records import TrialConfig, TrialMessage, TrialStatus, Verdict, canonical_json, to_json

CONFIG = TrialConfig(number=0, seed=0, params={"alpha": 0.5})
EPOCH = TrialMessage(kind="epoch", seconds=1.0, epoch=3, metrics={"miou": 0.5})
COSTS = TrialMessage(kind="costs", seconds=1.0)


class StandIn:
    """A conductor that answers as it is told, or fails."""

    def __init__(self, *, verdict=Verdict.CONTINUE, fault=None, trials=1, is_over=True):
        self.verdict, self.fault, self.trials, self.is_over = verdict, fault, trials, is_over
        self.handled = []

    def next_trial(self):
        if self.fault is not None:
            raise self.fault
        self.trials -= 1
        return CONFIG if self.trials >= 0 else None

    def handle(self, trial_id, message):
        if self.fault is not None:
            raise self.fault
        self.handled.append((trial_id, message))
        return self.verdict


@pytest.fixture(scope="module")
def seams():
    from automl.distributed import connection

    connection.prepare_environment()
    return pytest.importorskip("automl.distributed.tune_seams")


def searcher_of(seams, conductor):
    return seams.ConductorSearcher(seams.Door(conductor), FixedFleet(2))


def scheduled(seams, conductor, message, *, groups=False):
    scheduler = seams.ConductorScheduler(
        seams.Door(conductor), FixedFleet(2), trials_end_by_themselves=groups
    )
    trial = SimpleNamespace(config={seams.CONFIG_KEY: to_json(CONFIG)})
    result = {seams.MESSAGE_KEY: canonical_json(to_json(message))}
    return scheduler.on_trial_result(None, trial, result)


def test_the_searcher_hands_out_what_the_conductor_proposes(seams):
    searcher = searcher_of(seams, StandIn(trials=1))
    assert searcher.suggest("a") == {seams.CONFIG_KEY: to_json(CONFIG)}
    assert searcher.suggest("b") == "FINISHED"


def test_the_searcher_waits_while_a_running_trial_may_let_another_go_on(seams):
    searcher = searcher_of(seams, StandIn(trials=0, is_over=False))
    assert searcher.suggest("a") is None


def test_the_death_of_a_process_that_a_trial_has_left_ends_nothing(seams):
    conductor = StandIn(trials=2)
    searcher = searcher_of(seams, conductor)
    searcher.suggest("paused")
    searcher.suggest("promoted")
    searcher.on_trial_complete("paused", error=True)
    assert conductor.handled == []
    searcher.on_trial_complete("promoted", error=True)
    assert len(conductor.handled) == 1


def test_a_fault_of_the_study_in_a_trials_process_ends_the_search(seams):
    door = seams.Door(StandIn())
    scheduler = seams.ConductorScheduler(door, FixedFleet(2), trials_end_by_themselves=False)
    result = {seams.FAULT_KEY: "the disk is full"}
    assert scheduler.on_trial_result(None, SimpleNamespace(config={}), result) == "STOP"
    assert str(door.fault) == "the disk is full"
    assert door.is_over


def test_a_trial_whose_process_died_for_good_ends_as_failed(seams):
    conductor = StandIn()
    searcher = searcher_of(seams, conductor)
    searcher.suggest("a")
    searcher.on_trial_complete("a", error=False)
    assert conductor.handled == []
    searcher.on_trial_complete("a", error=True)
    ((trial_id, message),) = conductor.handled
    assert trial_id == CONFIG.trial_id
    assert message.status is TrialStatus.FAILED


def lost(seams, searcher, scheduler, tune_id, *, allowed):
    """Have Tune give up a trial that was lost, as it does where its process was being reset."""
    metadata = SimpleNamespace(num_failures=0)
    trial = SimpleNamespace(
        trial_id=tune_id,
        config=searcher.suggest(tune_id),
        run_metadata=metadata,
        error_file=None,
        should_recover=lambda: metadata.num_failures <= allowed,
    )
    scheduler.on_trial_add(None, trial)
    metadata.num_failures += 1
    scheduler.on_trial_error(None, trial)
    searcher.on_trial_complete(tune_id, error=True)


def test_a_trial_that_tune_gives_up_too_early_starts_again_as_often_as_is_allowed(seams):
    conductor = StandIn(trials=1, is_over=False)
    door = seams.Door(conductor)
    searcher = seams.ConductorSearcher(door, FixedFleet(2))
    scheduler = seams.ConductorScheduler(door, FixedFleet(2), trials_end_by_themselves=False)
    for tune_id in ("first", "second"):
        lost(seams, searcher, scheduler, tune_id, allowed=2)
        assert conductor.handled == []
    lost(seams, searcher, scheduler, "third", allowed=2)
    ((trial_id, message),) = conductor.handled
    assert (trial_id, message.status) == (CONFIG.trial_id, TrialStatus.FAILED)
    assert searcher.suggest("fourth") is None


def test_a_trial_that_may_not_be_lost_ends_at_its_first_loss(seams):
    conductor = StandIn(trials=1)
    door = seams.Door(conductor)
    searcher = seams.ConductorSearcher(door, FixedFleet(2))
    scheduler = seams.ConductorScheduler(door, FixedFleet(2), trials_end_by_themselves=False)
    lost(seams, searcher, scheduler, "a", allowed=0)
    assert [message.status for _, message in conductor.handled] == [TrialStatus.FAILED]


@pytest.mark.parametrize(
    ("verdict", "message", "groups", "decision"),
    [
        (Verdict.CONTINUE, EPOCH, False, "CONTINUE"),
        (Verdict.STOP, EPOCH, False, "STOP"),
        (Verdict.PAUSE, EPOCH, False, "STOP"),
        (Verdict.PAUSE, EPOCH, True, "CONTINUE"),
        (Verdict.STOP, EPOCH, True, "CONTINUE"),
        (Verdict.STOP, COSTS, False, "CONTINUE"),
    ],
)
def test_the_scheduler_obeys_unless_the_trial_ends_by_itself(
    seams, verdict, message, groups, decision
):
    assert scheduled(seams, StandIn(verdict=verdict), message, groups=groups) == decision


def test_the_oldest_waiting_trial_runs_next(seams):
    scheduler = seams.ConductorScheduler(
        seams.Door(StandIn()), FixedFleet(2), trials_end_by_themselves=False
    )
    statuses = {"x_00003": "PENDING", "x_00002": "PENDING", "x_00001": "RUNNING"}
    live = [SimpleNamespace(trial_id=name, status=status) for name, status in statuses.items()]
    tune = SimpleNamespace(get_live_trials=lambda: live)
    assert scheduler.choose_trial_to_run(tune).trial_id == "x_00002"
    del live[:2]
    assert scheduler.choose_trial_to_run(tune) is None


def test_a_fault_of_the_study_stops_everything_and_is_kept(seams):
    fault = StudyError("disk full")
    door = seams.Door(StandIn(fault=fault))
    assert door.handle(CONFIG.trial_id, EPOCH) is Verdict.STOP
    assert door.next_trial() is None
    assert door.fault is fault


def test_tune_may_pickle_its_parts(seams):
    door = seams.Door(SimpleNamespace(lock=(unpicklable for unpicklable in ())))
    for part in (
        seams.ConductorSearcher(door, FixedFleet(2)),
        seams.ConductorScheduler(door, FixedFleet(2), trials_end_by_themselves=False),
    ):
        pickle.loads(pickle.dumps(part))


def event(trial_id, epoch, verdict):
    message = {"kind": "epoch", "epoch": epoch}
    return {"kind": "message", "trial_id": trial_id, "message": message, "verdict": verdict}


def test_a_verdict_is_read_from_the_journal():
    events = [{"kind": "proposed"}, event("a", 1, "continue"), event("b", 1, "stop")]
    assert verdict_on(events, "a", 1) is Verdict.CONTINUE
    assert verdict_on(events, "b", 1) is Verdict.STOP
    paused = [*events, event("c", 1, "pause")]
    assert verdict_on(paused, "c", 1) is Verdict.PAUSE
    promoted = [*paused, {"kind": "promoted", "trial_id": "c", "epoch": 1}]
    assert verdict_on(promoted, "c", 1) is Verdict.CONTINUE
    assert verdict_on(events, "a", 2) is Verdict.STOP, "the study is at fault"


class Leaving(FixedFleet):
    """A fleet one node of which is about to go."""

    def is_leaving(self, node_id):
        return node_id == "leaving"


def reported(seams, scheduler, tune_id, node, message):
    result = {seams.MESSAGE_KEY: canonical_json(to_json(message)), seams.NODE_KEY: node}
    trial = SimpleNamespace(trial_id=tune_id, config={seams.CONFIG_KEY: to_json(CONFIG)})
    return scheduler.on_trial_result(None, trial, result)


END = TrialMessage(kind="end", seconds=1.0, status=TrialStatus.COMPLETED)


@pytest.mark.parametrize(
    ("node", "verdict", "message", "moves"),
    [
        ("leaving", Verdict.CONTINUE, EPOCH, True),
        ("leaving", Verdict.CONTINUE, COSTS, True),
        ("leaving", Verdict.PAUSE, EPOCH, False),
        ("leaving", Verdict.CONTINUE, END, False),
        ("staying", Verdict.CONTINUE, EPOCH, False),
    ],
)
def test_a_trial_on_a_node_that_is_about_to_go_goes_on_elsewhere(
    seams, node, verdict, message, moves
):
    conductor = StandIn(trials=1, is_over=False, verdict=verdict)
    door = seams.Door(conductor)
    searcher = seams.ConductorSearcher(door, Leaving(1))
    scheduler = seams.ConductorScheduler(door, Leaving(1), trials_end_by_themselves=False)
    config = searcher.suggest("here")
    decision = reported(seams, scheduler, "here", node, message)
    assert decision == ("STOP" if moves or verdict is Verdict.PAUSE else "CONTINUE")
    searcher.on_trial_complete("here", {}, error=False)
    assert searcher.suggest("elsewhere") == (config if moves else None)
    assert conductor.handled == [(CONFIG.trial_id, message)], "the study knows nothing of it"


def test_a_group_says_itself_that_it_moves(seams):
    door = seams.Door(StandIn(trials=1, is_over=False))
    searcher = seams.ConductorSearcher(door, Leaving(1))
    scheduler = seams.ConductorScheduler(door, Leaving(1), trials_end_by_themselves=True)
    config = searcher.suggest("here")
    assert reported(seams, scheduler, "here", "leaving", EPOCH) == "CONTINUE"
    moving = SimpleNamespace(trial_id="here", config={})
    assert scheduler.on_trial_result(None, moving, {seams.MOVES_KEY: True}) == "CONTINUE"
    searcher.on_trial_complete("here", {}, error=False)
    assert searcher.suggest("elsewhere") == config


def test_nothing_moves_once_the_study_has_a_fault(seams):
    door = seams.Door(StandIn(trials=1))
    searcher = seams.ConductorSearcher(door, FixedFleet(1))
    searcher.suggest("here")
    door.moving.add("here")
    door.fail("the disk is full")
    searcher.on_trial_complete("here", {}, error=False)
    assert searcher.suggest("elsewhere") == "FINISHED"


def test_a_process_on_a_node_that_is_about_to_go_is_not_used_again(seams):
    from ray.tune import PlacementGroupFactory

    asked = PlacementGroupFactory([{"CPU": 2.0}], "PACK")
    scheduler = seams.ConductorScheduler(
        seams.Door(StandIn()), Leaving(1), trials_end_by_themselves=False
    )
    for node, is_kept in (("staying", True), ("leaving", False)):
        trial = SimpleNamespace(trial_id="a", placement_group_factory=asked)
        scheduler.on_trial_complete(None, trial, {seams.NODE_KEY: node})
        # Tune finds a process to use again by what its trial asked for.
        assert (trial.placement_group_factory == asked) is is_kept


def test_no_more_trials_wait_than_the_fleet_has_places_for(seams):
    class Growing:
        count = 1

        def places(self):
            return self.count

    fleet = Growing()
    searcher = seams.ConductorSearcher(seams.Door(StandIn(trials=9, is_over=False)), fleet)
    assert searcher.suggest("a") is not None
    assert searcher.suggest("b") is None
    fleet.count = 3
    assert [searcher.suggest(name) is None for name in "bcd"] == [False, False, True]
    fleet.count = 1
    searcher.on_trial_complete("a")
    searcher.on_trial_complete("b")
    assert searcher.suggest("d") is None, "the cluster has shrunk"
    searcher.on_trial_complete("c")
    assert searcher.suggest("d") is not None
