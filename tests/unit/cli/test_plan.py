"""What `automl plan` prints of a plan."""

import io

import pytest
from rich.console import Console

from automl.cli.plan_table import describe_option_table, describe_probe, time_text
from automl.measurement.pace import NetworkPace, Probe
from automl.planning.plan import Money, Option, Range, StudyPlan

SOME = Range(low=3600.0, mid=7200.0, high=9000.0)


def plan_of(*, money, waited=0.0):
    network = NetworkPace(number=0, params={}, setup_s=1.0, costs=(), image_s=0.1)
    return StudyPlan(
        made="2026-01-31T12:00:00+00:00",
        study_key="key",
        trials=12,
        dataset="any",
        machines="g6.2xlarge",
        probe=Probe(
            networks=(network,),
            process_s=4.2,
            device="cpu",
            cpu="a processor",
            threads=1,
            images={},
            waited=waited,
        ),
        assumptions=(),
        simulations=100,
        options=(
            Option(
                nodes=4,
                trials_at_a_time=4,
                wall_s=SOME,
                search_s=SOME,
                after_s=SOME,
                epochs=SOME,
                device_hours=Range(low=1.0, mid=2.0, high=3.0),
                node_hours=SOME,
                utilisation=0.81,
                money=money,
                note="knee",
            ),
        ),
    )


def shown(plan):
    file = io.StringIO()
    Console(file=file, width=140).print(describe_option_table(plan))
    return file.getvalue()


def test_a_row_has_time_devices_and_money():
    money = Money(
        currency="EUR", total=Range(low=4.0, mid=5.5, high=11.0), standing=0.5, device_hour=1.0
    )
    text = shown(plan_of(money=money))
    for part in ("EUR", "2.0 h (60 min to 2.5 h)", "2.00 (1.00 to 3.00)", "81%", "5.50 (4.00 to"):
        assert part in text
    assert "12 trials on g6.2xlarge" in text
    assert "knee" in text


def test_without_prices_there_is_no_column_of_money():
    assert "head, timing" not in shown(plan_of(money=None))


def test_other_programs_are_told_of_where_they_matter():
    assert len(describe_probe(plan_of(money=None, waited=0.05))) == 1
    told = describe_probe(plan_of(money=None, waited=0.5))[1]
    assert "50% longer" in told


@pytest.mark.parametrize(
    ("seconds", "text"), [(45.2, "45 s"), (600, "10 min"), (7199, "120 min"), (9000, "2.5 h")]
)
def test_times_are_told_in_the_unit_that_suits_them(seconds, text):
    assert time_text(seconds) == text
