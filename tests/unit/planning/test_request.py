import pytest

from automl.errors import UsageError
from automl.planning.request import PlanOptions, Request


def options(**given):
    usual = dict.fromkeys(("cluster", "prices", "nodes", "node_type", "speedup", "node_life"))
    return PlanOptions(**(usual | {"node_start": "6m"} | given))


def test_without_a_cluster_it_is_one_machine_without_money():
    request = Request.parse(options())
    assert request.priced is None
    assert request.counts(None) == (1,)


def test_a_cluster_file_brings_machines_prices_and_as_many_as_there_may_be(cluster_folder):
    request = Request.parse(options(cluster=cluster_folder / "aws.yaml", node_life="8h"))
    machines = request.priced.machines
    assert (machines.node_start_s, machines.mean_life_s) == (360, 8 * 3600)
    assert request.counts(machines.most_nodes) == (1, 2, 4, 8)
    assert request.counts(5) == (1, 2, 4)
    assert request.priced.declared_speed is None


def test_the_prices_may_declare_a_speed(cluster_folder, tmp_path):
    file = tmp_path / "mine.yaml"
    text = (cluster_folder / "prices.yaml").read_text()
    file.write_text(text.replace("spot: 0.45, devices: 1", "spot: 0.45, devices: 1, speed: 12"))
    request = Request.parse(options(cluster=cluster_folder / "aws.yaml", prices=file))
    assert request.priced.declared_speed == 12


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"nodes": "1,two"}, r"--nodes: given '1,two'; allowed: whole numbers"),
        ({"nodes": "1,1001"}, "--nodes"),
        ({"speedup": "fast"}, "--speedup: given 'fast'; allowed: a number above 0"),
        ({"speedup": "9-3"}, "--speedup"),
        ({"speedup": "0"}, "--speedup"),
        ({"node_start": "soon"}, "--node-start: given 'soon'"),
        ({"node_life": "long"}, "--node-life: given 'long'"),
        ({"node_life": "8h"}, "--node-life: only with --cluster"),
        ({"node_type": "gpu"}, "--node-type: only with --cluster"),
    ],
)
def test_what_cannot_be_is_refused(given, told):
    with pytest.raises(UsageError, match=told):
        Request.parse(options(**given))


def test_more_machines_than_the_cluster_may_have_are_refused():
    request = Request.parse(options(nodes="4,2,16,2"))
    assert request.counts(None) == (2, 4, 16)
    with pytest.raises(UsageError, match="--nodes: given 16; allowed: at most 8"):
        request.counts(8)
