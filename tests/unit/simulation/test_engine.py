"""The simulator against cases that were worked out by hand, and its promises as properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl.conductor.budget import planned_epochs
from automl.records import Measurement
from automl.simulation.engine import SimulatedClock, simulate
from automl.simulation.script import Crew, TrialScript
from automl.simulation.searching import SynchronousHalving, conductor_of, stand_in_plan

EPOCHS = 4


def plan_of(trials, *, epochs=EPOCHS, min_epochs=1, eta=2):
    return stand_in_plan(
        trials=trials,
        epochs=epochs,
        min_epochs=min_epochs,
        eta=eta,
        objectives={"miou": "maximize"},
    )


def scripts_of(epoch_s, *, setup_s=0.0, resume_s=0.0, quality=lambda number: number):
    """Trials whose epochs take as long as `epoch_s` says by number; later ones are better."""

    def script(config):
        seconds = float(epoch_s(config.number))
        return TrialScript(
            setup_s=setup_s,
            resume_s=resume_s,
            epoch_s=(seconds,) * EPOCHS,
            metrics=tuple({"miou": float(quality(config.number))} for _ in range(EPOCHS)),
        )

    return script


def run(plan, scripts, crew, *, synchronous=False, seed=0):
    clock = SimulatedClock()
    search = SynchronousHalving(plan) if synchronous else conductor_of(plan, clock)
    return simulate(search, scripts, crew, clock=clock, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("synchronous", [False, True])
def test_one_worker_takes_all_planned_epochs_one_after_another(synchronous):
    # Rungs at 1 and 2 of 4: trial 0 has 4 epochs; of 4 others 4, 2 and 1 train to 1, 2 and 4.
    plan = plan_of(5)
    found = run(plan, scripts_of(lambda _: 10), Crew(nodes=1), synchronous=synchronous)
    assert planned_epochs(plan) == 12
    assert found.epochs == 12
    assert found.makespan_s == found.busy_s == found.present_s == 120
    assert found.utilisation == 1


def test_two_workers_by_hand():
    # A: trial 0, 4 epochs of 10 s, to 40 s. B meanwhile: trials 1 and 2, an epoch each, to 20 s;
    # two have come to the first rung, so the better one, 2, goes on at once, its second epoch to
    # 30 s, where it waits (one in two of one is none). Then trial 3 to 40 s. At 40 s nothing is
    # left: three have come to the first rung, one went on.
    found = run(plan_of(4), scripts_of(lambda _: 10), Crew(nodes=2))
    assert found.makespan_s == 40
    assert found.epochs == 8
    assert found.busy_s == 80


def test_a_whole_rung_is_waited_for():
    # Four trials of 40, 10, 10 and 10 s an epoch beside trial 0, which is quick, on two workers.
    # A: 0 to 4 s, trials 2, 3 and 4 to 34 s; B: trial 1 to 40 s. Then 3 and 4 an epoch each, to
    # 50 s, then 4 its last two.
    pace = {0: 1, 1: 40, 2: 10, 3: 10, 4: 10}.__getitem__
    waits = run(plan_of(5), scripts_of(pace), Crew(nodes=2), synchronous=True)
    assert waits.makespan_s == 70
    assert waits.busy_s == 4 + 70 + 20 + 20


def test_waiting_for_whole_rungs_leaves_workers_idle():
    gains = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        pace, quality = rng.lognormal(2, 0.7, 40), rng.permutation(40)
        scripts = scripts_of(pace.__getitem__, quality=quality.__getitem__)
        goes_on, waits = (
            run(plan_of(40), scripts, Crew(nodes=8), synchronous=synchronous)
            for synchronous in (False, True)
        )
        gains.append(goes_on.utilisation - waits.utilisation)
    assert np.median(gains) > 0


def test_setup_resume_and_processes_are_waited_for():
    scripts = scripts_of(lambda _: 10, setup_s=3, resume_s=1, quality=lambda number: -number)
    crew = Crew(nodes=1, node_start_s=100, process_start_s=7)
    found = run(plan_of(3), scripts, crew)
    # Trial 0: 3 + 40; 1 and 2: 3 + 10 each; 1, the better one, goes on: 1 + 10, and waits again.
    assert found.makespan_s == 100 + 7 + 43 + 13 + 13 + 11
    assert found.trial_s == 43 + 13 + 13 + 11
    (span,) = found.spans
    assert (span.asked_s, span.up_s, span.last_used_s) == (0, 100, found.makespan_s)


def test_an_infeasible_trial_ends_after_its_costs():
    def scripts(config):
        return TrialScript(
            setup_s=2,
            resume_s=1,
            epoch_s=(10.0,) * EPOCHS,
            metrics=({"miou": 0.5},) * EPOCHS,
            costs=(Measurement(metric="size_mb", value=9.0),),
            infeasible="too large" if config.number else None,
        )

    for synchronous in (False, True):
        found = run(plan_of(4), scripts, Crew(nodes=1), synchronous=synchronous)
        assert (found.epochs, found.makespan_s) == (4, 48)


def test_a_lost_node_costs_the_epoch_in_flight_and_the_way_back():
    class Lives:
        """The first node lives 25 s, those after it for ever."""

        def __init__(self):
            self.lives = iter([25.0, 1e9])

        def exponential(self, _mean):
            return next(self.lives)

    plan, clock = plan_of(1), SimulatedClock()
    crew = Crew(nodes=1, node_start_s=5, mean_life_s=1.0)
    scripts = scripts_of(lambda _: 10, setup_s=2, resume_s=1)
    found = simulate(conductor_of(plan, clock), scripts, crew, clock=clock, rng=Lives())
    # Up at 5; costs at 7, epochs at 17 and 27; lost at 30. Up again at 35, on at 36, to 56.
    assert found.makespan_s == 56
    assert found.lost_s == 3
    assert found.busy_s == 25 + 21
    assert found.lost_nodes == 1
    assert found.utilisation == pytest.approx(43 / 46)


def test_nodes_that_never_live_long_enough_are_told():
    crew = Crew(nodes=1, mean_life_s=1e-6)
    with pytest.raises(ValueError, match="no search comes to its end"):
        run(plan_of(1), scripts_of(lambda _: 10), crew)


CREWS = st.builds(
    Crew,
    nodes=st.integers(1, 12),
    places=st.integers(1, 3),
    mean_life_s=st.sampled_from([None, 50.0, 500.0]),
    most_trials=st.sampled_from([None, 1, 5]),
)


@settings(max_examples=40, deadline=None)
@given(
    trials=st.integers(1, 20),
    crew=CREWS,
    eta=st.integers(2, 4),
    seed=st.integers(0, 99),
    synchronous=st.booleans(),
)
def test_all_planned_epochs_are_done_and_no_worker_is_more_than_busy(
    trials, crew, eta, seed, synchronous
):
    rng = np.random.default_rng(seed)
    pace, quality = rng.uniform(1, 20, trials), rng.permutation(trials)
    plan = plan_of(trials, eta=eta)
    scripts = scripts_of(pace.__getitem__, quality=quality.__getitem__)
    found = run(plan, scripts, crew, synchronous=synchronous, seed=seed)
    assert found.epochs == planned_epochs(plan)
    assert 0 < found.utilisation <= 1 + 1e-9
    assert found.lost_s <= found.busy_s <= found.present_s + 1e-6
    assert found.lost_nodes > 0 or found.lost_s == 0
    again = run(plan, scripts, crew, synchronous=synchronous, seed=seed)
    assert again == found


@settings(max_examples=40, deadline=None)
@given(
    trials=st.integers(2, 24),
    workers=st.integers(1, 8),
    seed=st.integers(0, 99),
    synchronous=st.booleans(),
)
def test_twice_the_workers_take_no_longer_but_for_one_trial(trials, workers, seed, synchronous):
    rng = np.random.default_rng(seed)
    pace = rng.uniform(1, 20, trials)
    scripts = scripts_of(pace.__getitem__, quality=rng.permutation(trials).__getitem__)
    few, many = (
        run(plan_of(trials), scripts, Crew(nodes=count), synchronous=synchronous)
        for count in (workers, 2 * workers)
    )
    # In what order trials come to a rung decides who goes on: a slower one may.
    assert many.makespan_s <= few.makespan_s + EPOCHS * pace.max()
