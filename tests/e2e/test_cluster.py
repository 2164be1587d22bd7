"""Searches on clusters of several nodes, each a Ray of its own on this machine."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from automl.errors import StudyError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore:.*:ResourceWarning"),
]

PROBE = "127.0.0.2"


@pytest.fixture
def cluster(environment, monkeypatch) -> Iterator[Callable[..., Any]]:
    """Start a cluster with this head."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    from automl.distributed import connection

    connection.prepare_environment()
    from ray.cluster_utils import Cluster

    made = []

    def start(**head: object) -> Any:
        made.append(Cluster(initialize_head=True, head_node_args=head))
        return made[0]

    yield start
    import ray

    ray.shutdown()
    made[0].shutdown()


def test_the_probe_node_times_all_and_one_at_a_time(cluster, cli, tiny_space, tmp_path):
    nodes = cluster(num_cpus=2)
    probe = nodes.add_node(num_cpus=0, resources={"latency_probe": 1}, node_ip_address=PROBE)
    words = ["search", "--space", tiny_space, "--out", "study", "--address", nodes.address]
    words += ["--trials", 2, "--epochs", 1]
    done = cli(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"latency    on the latency_probe node {PROBE}" in done.stdout
    assert "Ray on 1 node, 2 trials at a time" in done.stdout

    import ray

    from automl.distributed.probe import find_probe, probe_stopwatch
    from automl.jobs.stopwatch import Timing

    ray.init(nodes.address, log_to_driver=False)
    timings = [event for event in ray.timeline() if event["cat"] == "task::_time"]
    assert len(timings) >= 3, "the reference, a gate, the ranking"
    assert {event["pid"] for event in timings} == {PROBE}
    spans = sorted((event["ts"], event["ts"] + event["dur"]) for event in timings)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))

    stopwatch = probe_stopwatch(find_probe(ray.nodes()))
    nodes.remove_node(probe)
    artifact = tmp_path / "study" / "reference" / "model.onnx"
    with pytest.raises(StudyError, match=f"{PROBE} has left the cluster.*the same command"):
        stopwatch.time({"a": artifact}, Timing(size=(32, 32), threads=1, rounds=1))
