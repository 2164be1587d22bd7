import pytest

from automl.conductor.conductor import MAX_FAILURES_IN_A_ROW
from automl.records import TrialStatus, Verdict
from automl.sampling import Proposer


def run(tell, conductor, mious, *, seconds=10.0, end=TrialStatus.COMPLETED, cost=()):
    """Run the next trial: its costs, an epoch for each score until it is stopped, its end."""
    config = conductor.next_trial()
    tell(conductor, config, "costs", measurements=tuple(cost))
    for epoch, miou in enumerate(mious, start=1):
        metrics = {"miou": miou}
        verdict = tell(conductor, config, "epoch", seconds * epoch, epoch=epoch, metrics=metrics)
        if verdict is Verdict.STOP:
            return config
    last = seconds * len(mious)
    reason = "no luck" if end is TrialStatus.FAILED else None
    tell(conductor, config, "end", last, status=end, reason=reason)
    return config


@pytest.fixture
def latency(cost):
    def of(milliseconds):
        return [cost("latency_ms", milliseconds)]

    return of


# ---------------------------------------------------------------------- proposals


def test_the_default_comes_first_then_the_points_then_proposals(start, experiment):
    points = [{"alpha": 0.25}, {"encoder": "resnet34", "decoder_width": 16}]
    of = experiment(search={"trials": 5, "seed": 7, "points": points})
    conductor = start(of)
    configs = [conductor.next_trial() for _ in range(5)]
    assert conductor.next_trial() is None
    default = {"encoder": "resnet18", "decoder_width": 64, "alpha": 0.5}
    assert [dict(config.params) for config in configs[:3]] == [
        default,
        {**default, "alpha": 0.25},
        {**default, "encoder": "resnet34", "decoder_width": 16},
    ]
    assert [config.number for config in configs] == [0, 1, 2, 3, 4]
    assert [config.seed for config in configs] == [7, 8, 9, 10, 11]
    assert len({config.trial_id for config in configs}) == 5


def test_a_proposal_is_on_record_before_anyone_runs_it(start, log, experiment):
    config = start(experiment()).next_trial()
    (event,) = log.read()
    assert event["kind"] == "proposed"
    assert event["config"]["params"] == config.params


def test_unfinished_trials_come_before_new_ones_after_a_restart(start, experiment, tell):
    before = start(experiment())
    first, second, third = (before.next_trial() for _ in range(3))
    tell(before, second, "end", status=TrialStatus.FAILED, reason="x")
    after = start(experiment())
    assert [after.next_trial() for _ in range(2)] == [first, third]
    assert after.next_trial().number == 3


def test_proposals_know_values_violations_failures_and_running_trials(
    start, experiment, tell, latency, monkeypatch
):
    told = []

    def propose(self, number, history):
        told.append({outcome.number: outcome for outcome in history})
        return {"encoder": "resnet18", "decoder_width": 16, "alpha": number / 100}

    monkeypatch.setattr(Proposer, "propose", propose)
    conductor = start(experiment(constraints={"latency_ms": 20, "params_m": 5}))
    run(tell, conductor, [0.1, 0.2, 0.3, 0.4], cost=latency(15.0))
    run(tell, conductor, [], end=TrialStatus.INFEASIBLE, cost=latency(27.5))
    run(tell, conductor, [], end=TrialStatus.FAILED)
    running = conductor.next_trial()
    tell(conductor, running, "costs", measurements=tuple(latency(12.0)))
    tell(conductor, running, "epoch", epoch=1, metrics={"miou": 0.9})
    conductor.next_trial()
    completed, infeasible, failed, unfinished = (told[-1][number] for number in range(4))
    assert completed.status is TrialStatus.COMPLETED
    assert completed.values == (0.4, 15.0)
    assert completed.violations == {"latency_ms": -5.0}
    assert infeasible.status is TrialStatus.INFEASIBLE
    assert infeasible.values is None
    assert infeasible.violations == {"latency_ms": 7.5}
    assert (failed.status, failed.values) == (TrialStatus.FAILED, None)
    assert (unfinished.status, unfinished.values) == (None, None)
    assert unfinished.params == running.params


# ---------------------------------------------------------------------- rungs


def test_a_rung_stops_the_losers_and_says_why(start, experiment, tell, latency):
    conductor = start(experiment(search={"eta": 2}))
    for miou in (0.5, 0.6):
        run(tell, conductor, [miou] * 4, cost=latency(10.0))
    loser = run(tell, conductor, [0.4] * 4, cost=latency(11.0))
    result = conductor.results()[loser.number]
    assert result.status is TrialStatus.STOPPED
    assert result.epochs == 1
    assert result.reason == "not among the best 1/2 of 3 trials at epoch 1"
    assert result.value("miou") == 0.4
    assert result.value("latency_ms") == 11.0
    assert result.checkpoint == f"trials/{loser.trial_id}/checkpoint"


def test_a_cheap_trial_outlives_a_rung_where_it_is_undominated(start, experiment, tell, latency):
    conductor = start(experiment(search={"eta": 2}, train={"epochs": 2}))
    run(tell, conductor, [0.5, 0.5], cost=latency(10.0))
    run(tell, conductor, [0.4, 0.4], cost=latency(20.0))
    cheap = run(tell, conductor, [0.3, 0.3], cost=latency(5.0))
    assert conductor.results()[1].status is TrialStatus.STOPPED
    assert conductor.results()[cheap.number].status is TrialStatus.COMPLETED


def test_the_default_is_never_stopped_at_a_rung(start, experiment, tell, latency):
    conductor = start(experiment(search={"eta": 4}))
    default = conductor.next_trial()
    tell(conductor, default, "costs", measurements=tuple(latency(99.0)))
    for _ in range(3):
        run(tell, conductor, [0.9] * 4, cost=latency(1.0))
    for epoch in range(1, 5):
        verdict = tell(conductor, default, "epoch", epoch=epoch, metrics={"miou": 0.0})
        assert verdict is Verdict.CONTINUE
    tell(conductor, default, "end", status=TrialStatus.COMPLETED)
    assert conductor.results()[0].status is TrialStatus.COMPLETED


def test_between_rungs_and_at_the_last_epoch_nobody_is_stopped(start, experiment, tell, latency):
    conductor = start(experiment(search={"eta": 3}, train={"epochs": 3}))
    run(tell, conductor, [0.5, 0.5, 0.5], cost=latency(10.0))
    # Ahead at the rung (epoch 1), behind after it.
    sinking = run(tell, conductor, [0.6, 0.0, 0.0], cost=latency(10.0))
    assert conductor.results()[sinking.number].status is TrialStatus.COMPLETED
    assert conductor.results()[sinking.number].epochs == 3


def test_messages_of_an_ended_trial_change_nothing(start, log, experiment, tell):
    conductor = start(experiment())
    config = run(tell, conductor, [], end=TrialStatus.FAILED)
    events = log.read()
    verdict = tell(conductor, config, "epoch", epoch=1, metrics={"miou": 1.0})
    assert verdict is Verdict.STOP
    tell(conductor, config, "end", status=TrialStatus.COMPLETED)
    assert log.read() == events
    assert conductor.results()[0].status is TrialStatus.FAILED


# ---------------------------------------------------------------------- restarts of a trial


def test_a_repeated_epoch_keeps_its_verdict_and_is_written_once(start, log, experiment, tell):
    before = start(experiment())
    config = before.next_trial()
    told = {"epoch": 1, "metrics": {"miou": 0.5}}
    assert tell(before, config, "epoch", 10.0, **told) is Verdict.CONTINUE
    after = start(experiment())
    assert after.next_trial() == config
    assert tell(after, config, "epoch", 1.0, **told) is Verdict.CONTINUE
    assert tell(after, config, "epoch", 9.0, epoch=2, metrics={"miou": 0.6}) is Verdict.CONTINUE
    assert log.epochs() == [(config.trial_id, 1), (config.trial_id, 2)]
    assert after.snapshot().epochs == 2


def test_a_verdict_to_stop_that_a_kill_cut_short_still_holds(start, log, experiment, tell, latency):
    conductor = start(experiment(search={"eta": 2}))
    run(tell, conductor, [0.9] * 4, cost=latency(1.0))
    loser = run(tell, conductor, [0.1] * 4, cost=latency(2.0))
    ending = log._lines.pop()
    assert '"status":"stopped"' in ending
    after = start(experiment(search={"eta": 2}))
    result = after.results()[loser.number]
    assert (result.status, result.epochs) == (TrialStatus.STOPPED, 1)
    assert after.next_trial().number == 2
    assert start(experiment(search={"eta": 2})).results() == after.results()


def test_seconds_add_up_over_attempts_and_restarts(start, experiment, tell):
    before = start(experiment())
    config = before.next_trial()
    tell(before, config, "costs", 2.0)
    tell(before, config, "epoch", 10.0, epoch=1, metrics={"miou": 0.5})
    # A process of its own that is started again, under the same conductor.
    tell(before, config, "costs", 1.0)
    tell(before, config, "epoch", 1.5, epoch=1, metrics={"miou": 0.5})
    tell(before, config, "epoch", 6.0, epoch=2, metrics={"miou": 0.5})
    after = start(experiment())
    after.next_trial()
    tell(after, config, "costs", 3.0)
    tell(after, config, "epoch", 3.5, epoch=2, metrics={"miou": 0.5})
    tell(after, config, "end", 7.0, status=TrialStatus.COMPLETED)
    assert after.results()[0].seconds == 10.0 + 6.0 + 7.0
    assert start(experiment()).results() == after.results()


# ---------------------------------------------------------------------- the ends of a search


def test_the_time_budget_ends_running_trials_and_starts_none(start, clock, experiment, tell):
    conductor = start(experiment(search={"time_budget": 100}))
    config = conductor.next_trial()
    clock.now = 99.0
    told = {"metrics": {"miou": 0.5}}
    assert tell(conductor, config, "epoch", epoch=1, **told) is Verdict.CONTINUE
    assert not conductor.out_of_time
    clock.now = 100.0
    assert conductor.next_trial() is None
    assert tell(conductor, config, "epoch", epoch=2, **told) is Verdict.STOP
    (result,) = conductor.results()
    assert (result.status, result.reason) == (TrialStatus.STOPPED, "the time budget is spent")


def test_a_trial_at_its_last_epoch_is_not_stopped_by_the_time(start, clock, experiment, tell):
    conductor = start(experiment(search={"time_budget": 100}, train={"epochs": 1}))
    config = conductor.next_trial()
    clock.now = 200.0
    verdict = tell(conductor, config, "epoch", epoch=1, metrics={"miou": 0.5})
    assert verdict is Verdict.CONTINUE


def test_the_time_of_earlier_runs_counts(start, clock, experiment, tell):
    before = start(experiment(search={"time_budget": 100}))
    config = before.next_trial()
    clock.now = 70.0
    tell(before, config, "costs")
    clock.now = 1000.0  # off for a while; the clock of another process may start anywhere
    after = start(experiment(search={"time_budget": 100}))
    assert after.elapsed_s == 70.0
    clock.now = 1029.0
    assert not after.out_of_time
    clock.now = 1030.0
    assert after.out_of_time


def test_ten_failures_in_a_row_are_a_fault_of_the_study(start, experiment, tell):
    conductor = start(experiment(search={"trials": 30}))
    run(tell, conductor, [0.5] * 4)
    for count in range(MAX_FAILURES_IN_A_ROW):
        assert conductor.fault is None, f"after {count} failures"
        run(tell, conductor, [], end=TrialStatus.FAILED)
    assert conductor.fault == "10 trials in a row failed, the last: no luck"
    assert conductor.next_trial() is None


def test_failures_with_a_success_between_them_are_no_fault(start, experiment, tell):
    conductor = start(experiment(search={"trials": 30}))
    for end in [TrialStatus.FAILED] * 9 + [TrialStatus.INFEASIBLE] + [TrialStatus.FAILED] * 9:
        run(tell, conductor, [], end=end)
    assert conductor.fault is None
    assert conductor.next_trial() is not None


def test_a_success_is_never_what_ends_a_study(start, experiment, tell):
    """After a restart that gives failing trials another chance, one that succeeds is no fault."""
    of = experiment(search={"trials": 30})
    before = start(of)
    slow = before.next_trial()
    for _ in range(MAX_FAILURES_IN_A_ROW):
        run(tell, before, [], end=TrialStatus.FAILED)
    assert before.fault is not None
    after = start(of)
    assert after.next_trial() == slow
    tell(after, slow, "end", status=TrialStatus.COMPLETED)
    assert after.fault is None


# ---------------------------------------------------------------------- what is told


def test_snapshots_count_every_state(start, clock, experiment, tell, latency):
    conductor = start(experiment(search={"trials": 8, "eta": 2}))
    run(tell, conductor, [0.5] * 4, cost=latency(10.0))
    stopped = run(tell, conductor, [0.4] * 4, cost=latency(20.0))
    run(tell, conductor, [], end=TrialStatus.INFEASIBLE, cost=latency(99.0))
    run(tell, conductor, [], end=TrialStatus.FAILED)
    leader = conductor.next_trial()
    tell(conductor, leader, "costs", measurements=tuple(latency(30.0)))
    tell(conductor, leader, "epoch", epoch=1, metrics={"miou": 0.7})
    clock.now = 60.0
    snapshot = conductor.snapshot()
    assert conductor.results()[stopped.number].status is TrialStatus.STOPPED
    assert (snapshot.planned, snapshot.ended) == (8, 4)
    assert (snapshot.completed, snapshot.stopped) == (1, 1)
    assert (snapshot.infeasible, snapshot.failed) == (1, 1)
    assert (snapshot.running, snapshot.waiting) == (1, 3)
    assert snapshot.epochs == 4 + 1 + 1
    assert snapshot.front_size == 2
    assert snapshot.best.number == leader.number
    assert snapshot.best.values == (0.7, 30.0)
    assert snapshot.elapsed_s == 60.0
    assert snapshot.time_left_s == 60.0  # 4 of 8 took 60 s


def test_an_empty_search_has_no_best_and_no_forecast(start, experiment):
    snapshot = start(experiment()).snapshot()
    assert (snapshot.best, snapshot.time_left_s, snapshot.front_size) == (None, None, 0)
    assert (snapshot.ended, snapshot.running, snapshot.waiting) == (0, 0, 6)


def test_the_forecast_is_at_most_what_the_budget_leaves(start, clock, experiment, tell):
    conductor = start(experiment(search={"time_budget": 100}))
    clock.now = 30.0
    assert conductor.snapshot().time_left_s == 70.0
    run(tell, conductor, [], end=TrialStatus.FAILED)
    assert conductor.snapshot().time_left_s == 70.0  # at this pace: 150
    clock.now = 130.0
    assert conductor.snapshot().time_left_s == 0.0


def test_an_observer_hears_of_each_start_and_each_message(start, watcher, experiment, tell):
    conductor = start(experiment())
    conductor.next_trial()
    assert watcher.snapshots[-1].running == 1
    tell(conductor, conductor.next_trial(), "end", status=TrialStatus.FAILED, reason="x")
    assert [(number, told.kind) for number, told, _ in watcher.messages] == [(1, "end")]
    assert (watcher.snapshots[-1].running, watcher.snapshots[-1].failed) == (1, 1)


def test_costs_that_were_told_are_part_of_the_result(start, experiment, tell, latency):
    conductor = start(experiment())
    config = conductor.next_trial()
    tell(conductor, config, "costs", measurements=tuple(latency(3.0)))
    assert conductor.results() == []
    tell(conductor, config, "end", status=TrialStatus.INFEASIBLE)
    (result,) = conductor.results()
    assert result.measurements == tuple(latency(3.0))


def test_a_trial_left_running_when_the_time_is_up_keeps_what_it_learnt(
    start, clock, experiment, tell
):
    of = experiment(search={"time_budget": 100})
    before = start(of)
    trained, fresh = before.next_trial(), before.next_trial()
    clock.now = 120.0
    tell(before, fresh, "costs")
    clock.now = 90.0
    trained_told = {"epoch": 1, "metrics": {"miou": 0.5}}
    assert tell(before, trained, "epoch", **trained_told) is Verdict.CONTINUE
    after = start(of)
    assert after.next_trial() is None
    (result,) = after.results()
    assert (result.config, result.status, result.epochs) == (trained, TrialStatus.STOPPED, 1)
    assert result.reason == "the time budget is spent"
