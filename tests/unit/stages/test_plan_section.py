"""The report's comparison of plan and actual, on journals that were made up."""

from dataclasses import replace

import pytest

from automl.measurement.pace import Probe
from automl.planning.plan import Money, Option, Range, StudyPlan, write_plan
from automl.records import TrialConfig, TrialMessage, TrialResult, TrialStatus, to_json
from automl.stages.plan_section import most_at_a_time, plan_section
from automl.store.journal import Journal

CONFIGS = [TrialConfig(number=n, seed=n, params={"alpha": 0.5}) for n in range(3)]


def proposed(number, elapsed=0.0):
    return {"kind": "proposed", "elapsed": elapsed, "config": to_json(CONFIGS[number])}


def told(number, kind, verdict="continue", elapsed=0.0, **fields):
    return {
        "kind": "message",
        "elapsed": elapsed,
        "trial_id": CONFIGS[number].trial_id,
        "message": to_json(TrialMessage(kind=kind, seconds=1.0, **fields)),
        "verdict": verdict,
        "added_seconds": 1.0,
    }


def promoted(number):
    name = CONFIGS[number].trial_id
    return {"kind": "promoted", "elapsed": 0.0, "trial_id": name, "epoch": 1}


def end(number, elapsed=0.0):
    return told(number, "end", elapsed=elapsed, status=TrialStatus.COMPLETED)


def test_trials_at_a_time_are_counted_from_start_to_pause_or_end():
    pause = told(1, "epoch", "pause", epoch=1)
    events = [proposed(0), proposed(1), pause, proposed(2), end(2), promoted(1), end(1), end(0)]
    assert most_at_a_time(events) == 2
    assert most_at_a_time([*events[:2], proposed(2)]) == 3
    assert most_at_a_time([]) == 1


def option(trials_at_a_time, minutes, money=None):
    def about(value):
        return Range(low=0.9 * value, mid=value, high=1.1 * value)

    return Option(
        nodes=trials_at_a_time,
        trials_at_a_time=trials_at_a_time,
        wall_s=about(60 * minutes + 120),
        search_s=about(60 * minutes),
        after_s=about(120),
        epochs=about(20),
        device_hours=about(0.5),
        node_hours=about(1),
        utilisation=0.9,
        money=money,
    )


@pytest.fixture
def plan(study):
    money = Money(
        currency="EUR", total=Range(low=1, mid=2.5, high=4), standing=0.5, device_hour=2.0
    )
    return StudyPlan(
        made="2026-01-31T12:00:00+00:00",
        study_key=study().experiment.key(),
        trials=12,
        dataset="any",
        machines="gpu",
        probe=Probe(networks=(), process_s=1.0, device="cpu", cpu="any", threads=1, images={}),
        assumptions=(),
        simulations=100,
        options=(option(1, 60), option(2, 40, money), option(8, 20)),
    )


RESULTS = [
    TrialResult(config=config, status=TrialStatus.COMPLETED, epochs=12, seconds=1200.0)
    for config in CONFIGS
]


@pytest.fixture
def ran(study):
    """A study of two trials at a time, over 50 minutes."""
    made = study()
    with Journal(made.folder.journal_file) as journal:
        for event in (proposed(0), proposed(1), end(0), proposed(2), end(1), end(2, 3000.0)):
            journal.append(event)
    return made


def test_without_a_plan_there_is_no_section(ran):
    assert plan_section(ran, RESULTS) == []


def test_the_plan_stands_beside_what_it_took(ran, plan):
    write_plan(ran.folder.plan_file, plan)
    text = "\n".join(plan_section(ran, RESULTS))
    assert text.startswith("## Plan and actual\n")
    assert "for 2 machines (gpu), 2 trials at a time." in text
    assert "| search, min | 40.0 | 36.0 to 44.0 | 50.0 | 1.25 |" in text
    assert "| device-hours of trials | 0.500 | 0.450 to 0.550 | 1.000 | 2.00 |" in text
    assert "| full epochs | 20.0 | 18.0 to 22.0 | 36.0 | 1.80 |" in text
    assert "| these device-hours, EUR | 1.00 | 0.90 to 1.10 | 2.00 | 2.00 |" in text
    assert "planned at 2.50 EUR" in text
    assert "made for" not in text


def test_a_plan_of_other_trials_or_of_another_study_says_so(ran, plan):
    write_plan(ran.folder.plan_file, replace(plan, trials=5))
    assert "It was made for 5 trials." in "\n".join(plan_section(ran, RESULTS))
    write_plan(ran.folder.plan_file, replace(plan, study_key="another"))
    told_of = "\n".join(plan_section(ran, RESULTS))
    assert "is of another experiment" in told_of
    assert "|" not in told_of


def test_a_plan_without_prices_has_no_row_of_money(ran, plan):
    write_plan(ran.folder.plan_file, replace(plan, options=(option(2, 40),)))
    assert "EUR" not in "\n".join(plan_section(ran, RESULTS))
