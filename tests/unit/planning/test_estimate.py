"""Plans against sums by hand, and what must hold for any plan."""

import numpy as np
import pytest

from automl.errors import StudyError
from automl.planning.after_search import after_search, makespan_s
from automl.planning.drawing import Course, Drawn
from automl.planning.estimate import Conditions, estimate, num_simulations
from automl.planning.machines import Machines, Rates
from automl.planning.plan import StudyPlan, bill_of, read_plan, write_plan
from automl.simulation.searching import stood_in
from automl.space.search_plan import plan_of

SAME = Conditions(speedup=(1.0, 1.0), probed_there=True)


@pytest.fixture(autouse=True)
def _fewer_courses(monkeypatch):
    """What is asserted holds for a few as for many."""
    monkeypatch.setattr("automl.planning.estimate._MOST", 6)
    monkeypatch.setattr("automl.planning.estimate._FEWEST", 6)


def rented(**fields):
    usual = {
        "name": "gpu",
        "resources": {"CPU": 8.0, "GPU": 1.0},
        "on_gpu": True,
        "node_start_s": 100.0,
        "idle_timeout_s": 50.0,
        "rates": Rates(currency="USD", cheapest=1.0, preferred=1.0, dearest=3.0, standing=0.5),
    }
    return Machines(**(usual | fields))


def planned(experiment, probe, machines, *counts, conditions=SAME):
    return estimate(
        experiment, probe, machines, conditions, node_counts=counts, tell=lambda _: None
    )


def test_one_machine_and_one_network_by_hand(experiment, probe):
    # Rungs at 2 of 6 epochs: trial 0 has 6, of 5 others one goes on: 5 x 2 + 4 = 14, in all 20.
    (option,) = planned(experiment(), probe(), rented(), 1)
    assert option.trials_at_a_time == 1
    assert option.epochs.low == option.epochs.high == 20
    # A start of 100 s, a process of 8, six networks of 4, perhaps half of that once more to go on.
    trials_s = 20 * 22 + 6 * 4
    assert 108 + trials_s <= option.search_s.mid <= 108 + trials_s + 2
    assert option.device_hours.mid * 3600 == pytest.approx(trials_s, abs=2)
    # Default and winner exported (4 s each), then 2 files timed and scored: 20 val images each, and
    # test for half of them, of 5 ms, and 33 timed calls.
    assert option.after_s.mid == pytest.approx(8 + 2 * 0.005 * (20 + 10 + 33))
    assert option.node_hours.mid * 3600 == pytest.approx(option.search_s.mid + 8 + 50, abs=1), (
        "from asking for it to the end of its last job and the idle time"
    )
    money, hours = option.money, option.node_hours.mid
    around_h = (option.wall_s.mid + 150) / 3600
    assert money.standing == pytest.approx(0.5 * around_h)
    assert money.total.mid == pytest.approx(hours * 1.0 + money.standing, abs=0.01)
    assert money.total.high == pytest.approx(hours * 3.0 + money.standing, abs=0.01)
    assert money.device_hour == 1.0
    assert option.utilisation == pytest.approx(1.0)


def test_more_machines_take_less_time_and_as_many_device_hours(experiment, probe, network):
    several = probe(*(network(n, epoch_s=10.0 * (n + 1), step_spread=0.1) for n in range(4)))
    options = planned(experiment(search={"trials": 24}), several, rented(), 1, 2, 4, 8)
    walls = [option.wall_s.mid for option in options]
    assert walls == sorted(walls, reverse=True)
    hours = [option.device_hours.mid for option in options]
    assert max(hours) < 1.15 * min(hours)
    for option in options:
        for found in (option.wall_s, option.device_hours, option.money.total):
            assert 0 < found.low <= found.mid <= found.high
        assert option.utilisation <= 1
    assert {option.note for option in options} <= {
        "",
        "knee",
        "another is quicker and costs less",
    }


def test_a_faster_device_saves_time_in_training_alone(experiment, probe):
    slow, fast = (
        planned(experiment(), probe(), rented(), 1, conditions=Conditions(speedup=(times, times)))[
            0
        ]
        for times in (1.0, 10.0)
    )
    saved_s = slow.device_hours.mid * 3600 - fast.device_hours.mid * 3600
    assert saved_s == pytest.approx(0.9 * 20 * 22, abs=1)
    (unsure,) = planned(
        experiment(), probe(), rented(), 1, conditions=Conditions(speedup=(1.0, 10.0))
    )
    assert unsure.wall_s.high > 1.5 * unsure.wall_s.low


def test_infeasible_networks_cost_no_epoch(experiment, probe, network):
    half = probe(network(0), network(1, infeasible="size_mb 30 > 20", epoch_s=0.0))
    (option,) = planned(experiment(), half, rented(), 1)
    assert option.epochs.high < 20


def test_lost_machines_take_time(experiment, probe):
    (safe,) = planned(experiment(), probe(), rented(), 2)
    (spot,) = planned(experiment(), probe(), rented(mean_life_s=200.0), 2)
    assert spot.wall_s.mid > safe.wall_s.mid
    assert spot.epochs == safe.epochs


def test_cores_of_one_machine_run_a_trial_each(experiment, probe):
    here = Machines(name="here", resources={"CPU": 4.0}, on_gpu=False)
    (option,) = planned(experiment(), probe(), here, 1)
    assert (option.trials_at_a_time, option.money) == (4, None)
    (limited,) = planned(experiment(search={"trials": 6, "concurrent": 2}), probe(), here, 1)
    assert limited.trials_at_a_time == 2
    # A trial of 8 workers takes two such machines.
    wide = experiment(train={"epochs": 6, "workers": 8})
    (pair,) = planned(wide, probe(), here, 2)
    assert pair.trials_at_a_time == 1


def test_a_time_budget_ends_the_search(experiment, probe):
    limited = experiment(search={"trials": 6, "min_epochs": 2, "time_budget": 200})
    (option,) = planned(limited, probe(), rented(), 1)
    assert 200 <= option.search_s.high < 200 + 22 + 4
    assert option.epochs.mid < 20


def test_the_same_seed_gives_the_same_plan(experiment, probe, network):
    several = probe(network(0), network(1, epoch_s=40.0))
    assert planned(experiment(), several, rented(), 2) == planned(
        experiment(), several, rented(), 2
    )


def test_the_first_trials_are_those_that_were_probed(experiment, probe, network):
    several = probe(*(network(n, epoch_s=10.0 * (n + 1)) for n in range(3)))
    course = Course(stood_in(plan_of(experiment())), several, speedup=(1.0, 1.0), seed=(0, 0))
    times = [course.network(number).epoch_s for number in range(6)]
    assert times[:3] == [10.0, 20.0, 30.0]
    assert all(5 < seconds < 60 for seconds in times)
    assert len(set(times)) == 6, "others are spread a little"


def test_students_and_int8_take_time_of_their_own(experiment):
    network = Drawn(
        setup_s=4.0,
        resume_s=2.0,
        epoch_s=20.0,
        evaluation_s=2.0,
        image_s=0.01,
        costs=(),
        infeasible=None,
    )
    images = {"train": 100, "val": 20, "test": 20}

    def then(**sections):
        made = experiment(**sections)
        return after_search(made, [network] * 3, images, np.random.default_rng(0))

    compress = {"winners": 1, "students": [{"pruning_ratio": 0.5}], "epochs": 3, "int8": False}
    # 3 epochs of 20 s, with 10 s of teaching and 2 s of scoring, after 4 s of building.
    assert then(compress=compress).compress_s == (4.0, 4.0, 4.0 + 3 * 32)
    rungs = {"rungs": ["per_channel"]}
    with_int8 = then(compress={"winners": 1, "students": [], "int8": rungs})
    # 64 images calibrate, 20 are scored.
    assert with_int8.compress_s == (4.0 + 0.84, 4.0 + 0.84)
    again = then(export={"finalist_seeds": 2}).again_s
    assert again == (4.0 + 6 * 22,) * 4


def test_jobs_are_handed_out_in_turn():
    assert makespan_s([3, 3, 3], 2) == 6
    assert makespan_s([5, 1, 1, 1], 2) == 5
    assert makespan_s([], 4) == 0


def test_simulations_are_many_where_trials_are_few(experiment, monkeypatch):
    monkeypatch.undo()
    assert num_simulations(experiment()) == 100
    assert num_simulations(experiment(search={"trials": 1000})) == 20


@pytest.fixture
def study_plan(experiment, probe):
    return StudyPlan(
        made="2026-01-31T12:00:00+00:00",
        study_key="key",
        trials=6,
        dataset="f" * 64,
        machines="gpu",
        probe=probe(),
        assumptions=("nothing is certain",),
        simulations=100,
        options=planned(experiment(), probe(), rented(), 1, 4),
    )


def test_a_plan_is_read_as_it_was_written(study_plan, tmp_path):
    file = tmp_path / "there" / "plan.json"
    assert read_plan(file) is None
    write_plan(file, study_plan)
    assert read_plan(file) == study_plan
    file.write_text("{}")
    with pytest.raises(StudyError, match="not a readable plan"):
        read_plan(file)


def test_the_bill_is_that_of_the_option_that_runs(study_plan):
    four = study_plan.options[1]
    bill = bill_of(study_plan, "key", 3)
    assert bill.currency == "USD"
    assert bill.planned == four.device_hours.high * four.money.device_hour
    assert bill_of(study_plan, "another", 3) is None
    assert bill_of(None, "key", 3) is None
