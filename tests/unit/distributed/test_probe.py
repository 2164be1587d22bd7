"""Which node of a cluster times networks, without a running Ray."""

import pickle
from pathlib import Path

import pytest

from automl.errors import UsageError


@pytest.fixture(scope="module")
def probe():
    from automl.distributed import connection

    connection.prepare_environment()
    return pytest.importorskip("automl.distributed.probe")


def node(number, *, alive=True, **resources):
    return {
        "NodeID": f"{number:04x}",
        "Alive": alive,
        "NodeManagerAddress": f"10.0.0.{number}",
        "Resources": resources,
    }


def test_a_cluster_without_the_resource_has_no_probe(probe):
    assert probe.find_probe([node(1, CPU=4.0), node(2, CPU=0.0)]) is None
    assert probe.find_probe([node(1, CPU=4.0), node(2, alive=False, latency_probe=1.0)]) is None


def test_the_probe_is_the_node_that_holds_the_resource(probe):
    found = probe.find_probe([node(1, CPU=4.0), node(7, latency_probe=2.0)])
    assert found == probe.ProbeNode(node_id="0007", address="10.0.0.7", amount=2.0)


def test_a_probe_with_cpus_for_trials_is_refused(probe):
    with pytest.raises(UsageError) as told:
        probe.find_probe([node(1, CPU=4.0), node(7, CPU=8.0, latency_probe=1.0)])
    for part in ("10.0.0.7", "given, 8 CPUs", "allowed: 0", "--num-cpus 0"):
        assert part in str(told.value)


def test_two_probes_are_refused(probe):
    nodes = [node(7, latency_probe=1.0), node(8, latency_probe=1.0)]
    with pytest.raises(UsageError, match=r"given 2 nodes .*10\.0\.0\.7, 10\.0\.0\.8.*allowed: 1"):
        probe.find_probe(nodes)


def test_a_stopwatch_travels_to_jobs_and_says_where_it_times(probe):
    place = probe.ProbeNode(node_id="0007", address="10.0.0.7", amount=1.0)
    stopwatch = probe.ProbeStopwatch(node=place, processor="a processor")
    assert pickle.loads(pickle.dumps(stopwatch)) == stopwatch
    assert stopwatch.cpu() == "a processor"
    assert "latency_probe node 10.0.0.7 (a processor)" in stopwatch.describe()


def test_a_probe_and_an_agent_together_are_refused(probe):
    from automl.agent_stopwatch import AgentStopwatch, DeviceAgent
    from automl.distributed.ray_backend import stopwatch_of

    place = probe.ProbeNode(node_id="0007", address="10.0.0.7", amount=1.0)
    agent = DeviceAgent(target="tcp://device:7070", token_file=Path("token"), processor="another")
    with pytest.raises(UsageError) as told:
        stopwatch_of(place, AgentStopwatch(agent))
    for part in ("--target: given tcp://device:7070", "node 10.0.0.7", "allowed: one of them"):
        assert part in str(told.value)
