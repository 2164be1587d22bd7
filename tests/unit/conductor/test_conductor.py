import pytest

from automl.conductor.failures import MOST_IN_A_ROW
from automl.records import TrialStatus, Verdict


def run(tell, conductor, mious, *, end=TrialStatus.COMPLETED, cost=(), reason="no luck"):
    """Run the next trial: its costs, an epoch for each score until it has to wait, its end."""
    config = conductor.next_trial()
    tell(conductor, config, "costs", measurements=tuple(cost))
    for epoch, miou in enumerate(mious, start=1):
        metrics = {"miou": miou}
        verdict = tell(conductor, config, "epoch", 10.0 * epoch, epoch=epoch, metrics=metrics)
        if verdict is not Verdict.CONTINUE:
            return config
    why = reason if end is TrialStatus.FAILED else None
    tell(conductor, config, "end", 10.0 * len(mious), status=end, reason=why)
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


class Listening:
    """In the place of a proposer: keeps what it is told, and proposes by number."""

    def __init__(self, told):
        self.told = told

    def begin(self, number, params):
        self.told.append(("begin", number))

    def observe(self, number, fidelity, values):
        self.told.append(("observe", number, fidelity, tuple(values)))

    def reject(self, number, violations):
        self.told.append(("reject", number, dict(violations)))

    def propose(self, number):
        return {"encoder": "resnet18", "decoder_width": 16, "alpha": number / 100}


@pytest.fixture
def told(monkeypatch):
    """What the proposer is told, in order."""
    heard = []
    monkeypatch.setattr("automl.conductor.search_state.Proposer", lambda *_, **__: Listening(heard))
    return heard


def test_the_proposer_is_told_of_rungs_violations_and_failures(
    start, experiment, tell, latency, told
):
    of = experiment(search={"min_epochs": 2}, constraints={"latency_ms": 20, "params_m": 5})
    conductor = start(of)
    run(tell, conductor, [0.1, 0.2, 0.3, 0.4], cost=latency(15.0))
    run(tell, conductor, [], end=TrialStatus.INFEASIBLE, cost=latency(27.5))
    run(tell, conductor, [], end=TrialStatus.FAILED)
    run(tell, conductor, [0.5, 0.6, 0.7, 0.8], cost=latency(12.0))
    expected = [
        ("begin", 0),
        ("observe", 0, 2, (0.2, 15.0)),
        ("observe", 0, 4, (0.4, 15.0)),
        ("begin", 1),
        ("reject", 1, {"latency_ms": 7.5}),
        ("begin", 2),
        ("reject", 2, {}),
        ("begin", 3),
        ("observe", 3, 2, (0.6, 12.0)),
    ]
    assert told == expected
    told.clear()
    start(of)
    assert told == expected, "a restart tells the same in the same order"


# ---------------------------------------------------------------------- rungs


def test_a_rung_keeps_all_waiting_until_enough_have_come_then_lets_the_best_go_on(
    start, experiment, tell, latency, watcher
):
    conductor = start(experiment(search={"eta": 2, "trials": 3}))
    run(tell, conductor, [0.9] * 4, cost=latency(50.0))
    better = run(tell, conductor, [0.6] * 4, cost=latency(10.0))
    worse = run(tell, conductor, [0.4] * 4, cost=latency(11.0))
    assert conductor.is_over
    assert conductor.snapshot().paused == 2
    assert conductor.next_trial() == better
    assert watcher.promoted == [(better.number, 1)]
    assert conductor.snapshot().paused == 1
    result = conductor.results()[worse.number - 1]
    assert result.status is TrialStatus.STOPPED
    assert result.epochs == 1
    assert result.reason == "not among the best 1/2 of 2 at epoch 1"
    assert result.value("miou") == 0.4
    assert result.value("latency_ms") == 11.0
    assert result.checkpoint == f"trials/{worse.trial_id}/checkpoint"


def test_the_best_of_a_rung_goes_on_without_a_pause(start, experiment, tell, latency):
    conductor = start(experiment(search={"eta": 2}, train={"epochs": 2}))
    run(tell, conductor, [0.5, 0.5], cost=latency(50.0))
    run(tell, conductor, [0.4, 0.4], cost=latency(10.0))
    winner = run(tell, conductor, [0.6, 0.7], cost=latency(10.0))
    assert conductor.results()[winner.number].status is TrialStatus.COMPLETED
    assert conductor.results()[winner.number].epochs == 2


def test_higher_rungs_come_first_and_before_new_trials(start, experiment, tell, latency):
    conductor = start(experiment(search={"eta": 2, "trials": 20}))
    run(tell, conductor, [0.9] * 4, cost=latency(50.0))
    paused_at_two = []
    while len(paused_at_two) < 2:
        config = run(tell, conductor, [0.5, 0.5, 0.5, 0.5], cost=latency(10.0))
        result = conductor.results()[config.number]
        if result.epochs == 2 and config.number not in paused_at_two:
            paused_at_two.append(config.number)
    assert conductor.next_trial().number == min(paused_at_two)


def test_twenty_seven_trials_and_eta_three_send_nine_on_and_then_three(
    start, experiment, tell, latency
):
    """One worker; the default, which trains to the end beside the rungs, is one of the 27."""
    of = experiment(search={"trials": 27, "eta": 3}, train={"epochs": 9})
    conductor = start(of)
    scores = {}
    while (config := conductor.next_trial()) is not None:
        tell(conductor, config, "costs", measurements=tuple(latency(10.0 + config.number % 5)))
        verdict = Verdict.CONTINUE
        for epoch in range(scores.get(config.number, 0) or 1, 10):
            scores[config.number] = epoch
            metrics = {"miou": (config.number * 7 % 27) / 30 + epoch / 100}
            verdict = tell(conductor, config, "epoch", epoch=epoch, metrics=metrics)
            if verdict is not Verdict.CONTINUE:
                break
        if verdict is Verdict.CONTINUE:
            tell(conductor, config, "end", status=TrialStatus.COMPLETED)
    epochs = [result.epochs for result in conductor.results()]
    assert len(epochs) == 27
    assert sum(count > 1 for count in epochs) == 9
    assert sum(count > 3 for count in epochs) == 3
    assert epochs[0] == 9
    snapshot = conductor.snapshot()
    assert snapshot.epochs == snapshot.planned_epochs == 27 + 9 * 2 + 3 * 6


def test_the_default_trains_to_the_end_and_takes_no_place_at_a_rung(
    start, experiment, tell, latency
):
    conductor = start(experiment(search={"eta": 2}))
    default = conductor.next_trial()
    tell(conductor, default, "costs", measurements=tuple(latency(99.0)))
    for _ in range(2):
        run(tell, conductor, [0.9] * 4, cost=latency(1.0))
    for epoch in range(1, 5):
        verdict = tell(conductor, default, "epoch", epoch=epoch, metrics={"miou": 0.0})
        assert verdict is Verdict.CONTINUE
    tell(conductor, default, "end", status=TrialStatus.COMPLETED)
    assert conductor.results()[0].status is TrialStatus.COMPLETED


def test_between_rungs_nobody_is_paused(start, experiment, tell, latency):
    conductor = start(experiment(search={"min_epochs": 2, "eta": 2}))
    run(tell, conductor, [0.5] * 4, cost=latency(50.0))
    for miou, epochs in ((0.6, 2), (0.7, 4)):
        config = run(tell, conductor, [0.0, miou, 0.0, 0.0], cost=latency(10.0))
        assert conductor.results()[config.number].epochs == epochs


def test_a_failed_trial_is_compared_with_but_never_promoted(start, experiment, tell, latency):
    conductor = start(experiment(search={"eta": 2, "trials": 4}))
    run(tell, conductor, [0.5] * 4, cost=latency(50.0))
    run(tell, conductor, [0.4] * 4, cost=latency(10.0))
    best = run(tell, conductor, [0.9], end=TrialStatus.FAILED, cost=latency(10.0))
    assert conductor.results()[best.number].status is TrialStatus.FAILED
    last = run(tell, conductor, [0.3] * 4, cost=latency(10.0))
    assert conductor.results()[last.number].epochs == 1
    assert conductor.next_trial() is None, "the one place of the rung is taken"


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


def test_a_promoted_trial_is_told_to_go_on_when_it_tells_its_last_epoch_again(
    start, log, experiment, tell, latency
):
    of = experiment(search={"eta": 2, "trials": 3})
    conductor = start(of)
    run(tell, conductor, [0.9] * 4, cost=latency(50.0))
    winner = run(tell, conductor, [0.6] * 4, cost=latency(10.0))
    run(tell, conductor, [0.4] * 4, cost=latency(11.0))
    assert conductor.next_trial() == winner
    events = log.read()
    for restarted in (conductor, start(of)):
        if restarted is not conductor:
            assert restarted.next_trial() == winner
        tell(restarted, winner, "costs", measurements=tuple(latency(12.0)))
        told = {"epoch": 1, "metrics": {"miou": 0.6}}
        assert tell(restarted, winner, "epoch", **told) is Verdict.CONTINUE
        assert log.read() == events, "nothing of it is news"
    assert restarted.results()[1].value("latency_ms") == 11.0


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


@pytest.mark.parametrize(
    ("budget", "why"),
    [
        ({"time_budget": 100}, "the time budget is spent"),
        ({"device_hours": 100 / 3600}, "the budget of device-hours is spent"),
    ],
)
def test_a_spent_budget_pauses_running_trials_and_a_larger_one_continues_them(
    start, clock, experiment, tell, budget, why
):
    conductor = start(experiment(search={**budget, "min_epochs": 2}))
    config = conductor.next_trial()
    clock.now = 50.0
    told = {"epoch": 1, "metrics": {"miou": 0.5}}
    assert tell(conductor, config, "epoch", 50.0, **told) is Verdict.CONTINUE
    clock.now = 101.0
    second = {"epoch": 2, "metrics": {"miou": 0.6}}
    assert tell(conductor, config, "costs", 101.0) is Verdict.CONTINUE
    assert tell(conductor, config, "epoch", 101.0, **second) is Verdict.PAUSE
    assert conductor.next_trial() is None
    assert conductor.is_over
    (result,) = conductor.results()
    assert (result.status, result.epochs, result.reason) == (TrialStatus.STOPPED, 2, why)
    larger = start(experiment(search={"time_budget": 1000, "min_epochs": 2}))
    assert larger.next_trial() == config
    assert tell(larger, config, "epoch", **second) is Verdict.CONTINUE
    assert tell(larger, config, "epoch", epoch=3, metrics={"miou": 0.6}) is Verdict.CONTINUE


def test_no_new_configuration_is_tried_once_the_front_stands_still(
    start, experiment, tell, latency
):
    stop_when = {"front_unchanged_for": 3}
    conductor = start(experiment(search={"trials": 30, "stop_when": stop_when, "eta": 9}))
    run(tell, conductor, [0.9] * 4, cost=latency(1.0))
    for _ in range(2):
        run(tell, conductor, [0.1] * 4, cost=latency(5.0))
    run(tell, conductor, [0.95] * 4, cost=latency(1.0))
    for _ in range(2):
        run(tell, conductor, [0.1] * 4, cost=latency(5.0))
        assert conductor.snapshot().running == 0
    run(tell, conductor, [], end=TrialStatus.INFEASIBLE, cost=latency(5.0))
    assert conductor.next_trial() is None
    assert len(conductor.results()) == 7


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
    assert after.budget_spent is None
    clock.now = 1030.0
    assert after.budget_spent is not None


def test_ten_failures_in_a_row_are_a_fault_of_the_study(start, experiment, tell):
    conductor = start(experiment(search={"trials": 30}))
    run(tell, conductor, [0.5] * 4)
    for count in range(MOST_IN_A_ROW):
        assert conductor.fault is None, f"after {count} failures"
        run(tell, conductor, [], end=TrialStatus.FAILED)
    assert conductor.fault == "10 trials in a row failed, the last: no luck"
    assert conductor.next_trial() is None


def test_failures_of_several_kinds_are_no_fault(start, experiment, tell):
    conductor = start(experiment(search={"trials": 40}))
    for index in range(20):
        kind = "OSError" if index % 2 else "ValueError"
        run(tell, conductor, [], end=TrialStatus.FAILED, reason=f"{kind}: number {index}")
    assert conductor.fault is None


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
    for _ in range(MOST_IN_A_ROW):
        run(tell, before, [], end=TrialStatus.FAILED)
    assert before.fault is not None
    after = start(of)
    assert after.next_trial() == slow
    tell(after, slow, "end", status=TrialStatus.COMPLETED)
    assert after.fault is None


# ---------------------------------------------------------------------- what is told


def test_snapshots_count_full_epochs(start, experiment, tell):
    fidelity = {"data_share": [0.25, 0.5, 1]}
    conductor = start(experiment(search={"trials": 7, "fidelity": fidelity}))
    assert conductor.snapshot().planned_epochs == 7 * 0.25 + 3 * 2 * 0.5 + 1 * 1
    run(tell, conductor, [0.5] * 3)
    assert conductor.snapshot().epochs == 0.25 + 2 * 0.5


def test_snapshots_count_every_state(start, clock, experiment, tell, latency):
    conductor = start(experiment(search={"trials": 8, "eta": 3}))
    run(tell, conductor, [0.5] * 4, cost=latency(10.0))
    run(tell, conductor, [0.4] * 4, cost=latency(20.0))
    run(tell, conductor, [], end=TrialStatus.INFEASIBLE, cost=latency(99.0))
    run(tell, conductor, [], end=TrialStatus.FAILED)
    leader = conductor.next_trial()
    tell(conductor, leader, "costs", measurements=tuple(latency(30.0)))
    clock.now = 60.0
    snapshot = conductor.snapshot()
    assert (snapshot.planned, snapshot.ended, snapshot.paused) == (8, 3, 1)
    assert (snapshot.completed, snapshot.infeasible, snapshot.failed) == (1, 1, 1)
    assert (snapshot.running, snapshot.waiting) == (1, 3)
    assert snapshot.epochs == 4 + 1
    assert snapshot.planned_epochs == 8 + 3 * 2 + 1 * 1  # rungs at 1 and 3, then 4 epochs
    assert snapshot.elapsed_s == 60.0
    assert snapshot.time_left_s == pytest.approx(60.0 / 5 * (snapshot.planned_epochs - 5))
    tell(conductor, leader, "epoch", epoch=1, metrics={"miou": 0.7})
    snapshot = conductor.snapshot()
    assert snapshot.front_size == 2
    assert snapshot.best.number == leader.number
    assert snapshot.best.values == (0.7, 30.0)
    assert snapshot.device_hours == pytest.approx((40.0 + 10.0) / 3600)


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
    clock.now = 90.0
    trained_told = {"epoch": 1, "metrics": {"miou": 0.5}}
    assert tell(before, trained, "epoch", **trained_told) is Verdict.CONTINUE
    clock.now = 120.0
    tell(before, fresh, "costs")
    after = start(of)
    assert after.next_trial() is None
    results = after.results()
    assert [(r.config, r.status, r.epochs) for r in results] == [
        (trained, TrialStatus.STOPPED, 1),
        (fresh, TrialStatus.STOPPED, 0),
    ]
    assert {result.reason for result in results} == {"the time budget is spent"}
    assert results[1].checkpoint is None


def test_who_watches_later_sees_the_state_at_once_and_all_that_follows(
    experiment, start, watcher, tell
):
    conductor = start(experiment())
    first = conductor.next_trial()
    late = type(watcher)()
    conductor.watch(late)
    assert [seen.running for seen in late.snapshots] == [1]
    for told in (watcher, late):
        told.snapshots.clear()
    tell(conductor, first, "epoch", 2.0, epoch=1, metrics={"miou": 0.5, "latency_ms": 3.0})
    assert watcher.messages == late.messages
    assert watcher.snapshots == late.snapshots
    assert late.snapshots[0].front == ((-0.5, 3.0),)
    assert late.snapshots[0].default == (-0.5, 3.0)
