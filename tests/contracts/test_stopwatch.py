"""What every stopwatch owes a study: here, by an agent, on a cluster's node, through a relay."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import onnx
import pytest
from onnx import TensorProto, helper

from automl.agent_stopwatch import AgentStopwatch, DeviceAgent
from automl.benchmark.agent import Agent, AgentSettings
from automl.benchmark.secret import read_token
from automl.errors import AutomlError
from automl.jobs.stopwatch import StopwatchHere, Timing
from automl.measurement.processor import cpu_model

ON_RAY = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore:.*:ResourceWarning"),
]
TIMING = Timing(size=(32, 48), threads=1, rounds=2)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """A served network in its least form: it labels each pixel by its red."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["image", "red"], ["mask"], axis=2)],
        "least",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["h", "w", 3])],
        [helper.make_tensor_value_info("mask", TensorProto.UINT8, ["h", "w"])],
        [helper.make_tensor("red", TensorProto.INT64, [], [0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path_factory.mktemp("artifact") / "model.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def agent_stopwatch(tmp_path_factory):
    """By an agent that serves in a thread of this process."""
    token_file = tmp_path_factory.mktemp("token") / "token"
    token_file.write_text("0123456789abcdef" * 2)
    token_file.chmod(0o600)
    agent = Agent(("127.0.0.1", 0), read_token(token_file), AgentSettings(), lambda _line: None)
    with ThreadPoolExecutor(1) as threads, agent:
        serving = threads.submit(agent.serve_forever)
        yield AgentStopwatch(
            DeviceAgent.found(agent.url, token_file, runtime="onnxruntime", threads=1)
        )
        agent.shutdown()
        serving.result()


@pytest.fixture(scope="module")
def on_ray(agent_stopwatch):
    """On a cluster's node that times, and through a relay beside it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_AUTH_MODE", "disabled")
        from automl.distributed import connection

        connection.prepare_environment()
        import ray
        from ray.cluster_utils import Cluster

        from automl.distributed.probe import find_probe, probe_stopwatch
        from automl.distributed.relay import relay_stopwatch

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        cluster.add_node(num_cpus=0, resources={"latency_probe": 1}, node_ip_address="127.0.0.2")
        ray.init(cluster.address, log_to_driver=False)
        yield SimpleNamespace(
            probe=probe_stopwatch(find_probe(ray.nodes())), relay=relay_stopwatch(agent_stopwatch)
        )
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(
    params=[
        "here",
        "agent",
        pytest.param("probe", marks=ON_RAY),
        pytest.param("relay", marks=ON_RAY),
    ]
)
def stopwatch(request):
    if request.param == "here":
        return StopwatchHere()
    if request.param == "agent":
        return request.getfixturevalue("agent_stopwatch")
    return getattr(request.getfixturevalue("on_ray"), request.param)


def test_every_file_is_timed_under_its_name_also_one_that_comes_twice(stopwatch, artifact):
    found = stopwatch.time({"reference": artifact, "candidate": artifact}, TIMING)
    assert list(found) == ["reference", "candidate"]
    for stats in found.values():
        assert 0 < stats.p50_ms <= stats.p95_ms <= stats.p99_ms
        assert stats.cpu_p50_ms > 0


def test_it_says_on_which_processor_it_times_and_where(stopwatch):
    assert stopwatch.cpu() == cpu_model()
    assert stopwatch.describe()


def test_it_travels_to_jobs(stopwatch, artifact):
    there = pickle.loads(pickle.dumps(stopwatch))
    assert there.cpu() == stopwatch.cpu()
    assert there.time({"a": artifact}, TIMING)["a"].p50_ms > 0


def test_jobs_that_ask_at_once_are_all_served(stopwatch, artifact):
    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(stopwatch.time, {"a": artifact}, TIMING) for _ in range(3)]
        assert all(answer.result()["a"].p50_ms > 0 for answer in asked)


def test_what_cannot_be_timed_is_told_and_the_next_file_is_timed(stopwatch, artifact, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(AutomlError, match="cannot open it"):
        stopwatch.time({"a": broken}, TIMING)
    assert stopwatch.time({"a": artifact}, TIMING)["a"].p50_ms > 0
