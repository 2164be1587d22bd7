import datetime as dt

import pytest

from automl.errors import SpaceError, UsageError
from automl.planning.assumptions import price_warnings
from automl.planning.cluster_file import read_cluster_file
from automl.planning.machines import machines_of
from automl.planning.prices import OLD_AFTER_DAYS, read_prices

SOUND = """\
currency: EUR
providers:
  aws:
    region: us-east-1
    date: 2026-01-31
    source: https://example.org
    instances:
      g6.2xlarge: {on_demand: 2.0, spot: 1.0, devices: 1}
      m7i.large: {on_demand: 0.5, devices: 0}
      c7i.large: {on_demand: 0.25, devices: 0}
"""


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "prices.yaml"
        path.write_text(text)
        return path

    return write


def test_a_sound_file_is_read(file):
    prices = read_prices(file(SOUND))
    assert prices.currency == "EUR"
    assert prices.price("aws", "g6.2xlarge", asked_by="here").spot == 1.0
    assert prices.of_provider("aws").age_days(dt.date(2026, 2, 2)) == 2


@pytest.mark.parametrize("name", ["aws", "gcp", "azure"])
def test_every_machine_of_our_cluster_files_has_a_price(cluster_folder, name):
    cluster = read_cluster_file(cluster_folder / f"{name}.yaml")
    prices = read_prices(cluster_folder / "prices.yaml")
    machines = machines_of(
        cluster, prices, cluster.training(None), node_start_s=60, mean_life_s=None
    )
    assert machines.rates.cheapest < machines.rates.dearest
    assert machines.rates.preferred == machines.rates.cheapest, "spot machines come first"
    assert machines.rates.standing > 0
    assert machines.most_nodes == 8


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            "2026-01-31",
            "soon",
            r"prices.yaml:5: providers.aws.date: given \"soon\"; allowed: a day",
        ),
        ("on_demand: 2.0", "on_demand: 0", r"prices.yaml:8: .*g6.2xlarge.on_demand: given 0"),
        ("{on_demand: 2.0, spot: 1.0, devices: 1}", "{devices: 1}", "no price; allowed: on_demand"),
        ("spot: 1.0", "sport: 1.0", "unknown key; .*did you mean spot"),
        ("currency: EUR", "currency: euros", "prices.yaml:1: currency"),
        (", devices: 1", "", "devices: missing"),
    ],
)
def test_faults_are_told_with_file_line_and_key(file, before, after, told):
    assert before in SOUND
    with pytest.raises(SpaceError, match=told):
        read_prices(file(SOUND.replace(before, after)))


def test_every_fault_is_told_at_once(file):
    text = SOUND.replace("EUR", "euros").replace("2.0", "-2").replace("2026-01-31", "x")
    with pytest.raises(SpaceError) as caught:
        read_prices(file(text))
    assert len(str(caught.value).splitlines()) == 3


def test_an_unknown_machine_is_told_with_who_asked_and_the_nearest(file):
    prices = read_prices(file(SOUND))
    with pytest.raises(UsageError) as caught:
        prices.price("aws", "g6.4xlarge", asked_by="aws.yaml: gpu_spot")
    told = str(caught.value)
    for part in (
        "aws.yaml: gpu_spot",
        "'g6.4xlarge'",
        "prices.yaml",
        "m7i.large",
        "mean g6",
    ):
        assert part in told


def test_a_market_without_a_price_and_too_many_gpus_are_refused(file, cluster_folder):
    cluster = read_cluster_file(cluster_folder / "aws.yaml")
    training = cluster.training(None)

    def machines(text):
        return machines_of(
            cluster, read_prices(file(text)), training, node_start_s=0, mean_life_s=None
        )

    assert machines(SOUND).rates.standing == 0.75
    with pytest.raises(UsageError, match="has no price for spot, on which gpu_spot"):
        machines(SOUND.replace(" spot: 1.0,", ""))
    with pytest.raises(UsageError, match=r"resources.GPU: given 1; allowed: at most 0"):
        machines(SOUND.replace("devices: 1", "devices: 0"))


def test_old_prices_and_those_of_another_region_are_warned_of(file, cluster_folder, tmp_path):
    cluster, prices = read_cluster_file(cluster_folder / "aws.yaml"), read_prices(file(SOUND))
    looked_up = dt.date(2026, 1, 31)
    at_age = {
        days: price_warnings(prices, cluster, looked_up + dt.timedelta(days=days))
        for days in (0, OLD_AFTER_DAYS, OLD_AFTER_DAYS + 1, -1)
    }
    assert at_age[0] == at_age[OLD_AFTER_DAYS] == ()
    assert "181 days old" in at_age[OLD_AFTER_DAYS + 1][0]
    assert "to come" in at_age[-1][0]
    elsewhere = tmp_path / "aws.yaml"
    text = (cluster_folder / "aws.yaml").read_text().replace("FILL_IN_REGION", "eu-west-1")
    elsewhere.write_text(text)
    (told,) = price_warnings(prices, read_cluster_file(elsewhere), looked_up)
    assert "eu-west-1" in told
