"""Searches on clusters of several nodes, each a Ray of its own on this machine."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from automl.conductor.observers import Observers
from automl.errors import StudyError, UsageError
from automl.records import TrialConfig, TrialMessage, Verdict
from automl.reporting import Reporter
from automl.space.experiment import Experiment
from automl.space.search_plan import plan_of
from automl.store.journal import read_journal

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


@pytest.fixture
def command(environment, tmp_path) -> Callable[..., subprocess.Popen[str]]:
    """Start the command line, and leave it running."""

    def start(*words: object) -> subprocess.Popen[str]:
        program = "from automl.cli.main import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", program, *map(str, words)],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def test_the_probe_node_times_all_and_one_at_a_time(cluster, cli, tiny_space, tmp_path):
    text = tiny_space.read_text().replace("[{pruning_ratio: 0.3}]", "[]")
    tiny_space.write_text(text)
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


def test_a_search_outlives_the_loss_of_a_node(cluster, command, tiny_space, tmp_path):
    nodes = cluster(num_cpus=0)
    lost, _ = [nodes.add_node(num_cpus=1) for _ in range(2)]
    out = tmp_path / "study"
    words = ["search", "--space", tiny_space, "--out", out, "--address", nodes.address]
    search = command(*words, "--trials", 3, "--epochs", 4)
    # Both nodes train by now, each a trial.
    wait_for(lambda: len({trial for trial, _ in epochs(out)}) == 2, search)
    nodes.remove_node(lost, allow_graceful=False)
    printed, told = search.communicate(timeout=200)
    assert search.returncode == 0, printed + told
    assert "Ray on 3 nodes, 2 trials at a time" in printed
    rows = pq.read_table(out / "trials.parquet").to_pylist()
    assert [row["number"] for row in rows] == [0, 1, 2]
    reasons = [row["reason"] for row in rows]
    assert {row["status"] for row in rows} <= {"completed", "stopped"}, reasons
    assert rows[0]["status"] == "completed"
    reported = epochs(out)
    assert len(reported) == len(set(reported)) == sum(row["epochs"] for row in rows)


def messages(out: Path) -> list[dict[str, Any]]:
    """What trials have reported, as the journal holds it."""
    return [event for event in read_journal(out / "journal.jsonl") if event["kind"] == "message"]


def epochs(out: Path) -> list[tuple[str, int]]:
    """Each epoch in the journal, with its trial."""
    return [
        (event["trial_id"], event["message"]["epoch"])
        for event in messages(out)
        if event["message"]["kind"] == "epoch"
    ]


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 180
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("spared", [0, 1])
def test_a_trial_that_asks_for_no_cpu_keeps_off_the_node_that_is_spared(cluster, tmp_path, spared):
    import ray

    from automl.conductor.conductor import Conductor
    from automl.distributed.fleet import FixedFleet
    from automl.distributed.tune_run import TuneSettings, run_on_tune
    from automl.store.journal import Journal

    nodes = cluster(num_cpus=0)
    both = [nodes.head_node, nodes.add_node(num_cpus=0, resources={"latency_probe": 1})]
    ray.init(nodes.address, log_to_driver=False)

    def job(config: TrialConfig, reporter: Reporter) -> None:
        (tmp_path / "node").write_text(ray.get_runtime_context().get_node_id())
        reporter.report(config, TrialMessage(kind="end", seconds=0.0, status="completed"))

    plan = plan_of(Experiment.from_json({"space": {"alpha": 0.5}, "search": {"trials": 1}}))
    settings = TuneSettings(
        resources={"memory": 1.0},
        fleet=FixedFleet(1),
        max_failures=0,
        storage=tmp_path / "ray",
        spared_node=both[spared].node_id,
    )
    with Journal(tmp_path / "journal.jsonl") as log:
        conductor = Conductor(plan, log, observer=Observers(), clock=time.monotonic)
        run_on_tune(conductor, job, settings)
    assert (tmp_path / "node").read_text() == both[1 - spared].node_id


def test_a_search_waits_for_workers_that_come_by_demand(cluster):
    import ray

    from automl.distributed.growth import wait_for_workers

    nodes = cluster(num_cpus=0)
    ray.init(nodes.address, log_to_driver=False)
    plain = {"space": {"alpha": 0.5}, "search": {"concurrent": 2}}
    two_trials = Experiment.from_json(plain)
    with pytest.raises(UsageError, match=r"given 0\.5 s; the cluster has 0 of 2 CPUs by now"):
        wait_for_workers(two_trials, 0.5)
    waiting = threading.Thread(target=wait_for_workers, args=(two_trials, 120.0), daemon=True)
    waiting.start()
    nodes.add_node(num_cpus=1)
    waiting.join(1.0)
    assert waiting.is_alive(), "one of two has come"
    nodes.add_node(num_cpus=1)
    waiting.join(120.0)
    assert not waiting.is_alive()
    # What was asked for is free for the trials.
    deadline = time.monotonic() + 30
    while ray.available_resources().get("CPU", 0) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_trials_come_to_a_new_node_and_leave_one_that_is_about_to_go(
    cluster, drain, until, tmp_path
):
    import ray

    nodes = cluster(num_cpus=0)
    first = nodes.add_node(num_cpus=1, node_ip_address="127.0.0.3").node_id
    ray.init(nodes.address, log_to_driver=False)
    done = partial(trained_epochs, tmp_path)
    heard: list[str] = []
    search = threading.Thread(target=search_elastically, args=(tmp_path, heard.append))
    search.start()
    until(lambda: len(done()) >= 1, 180)
    second = nodes.add_node(num_cpus=1, node_ip_address="127.0.0.4").node_id
    until(lambda: {node for _, _, node in done()} == {first, second}, 180)
    (tmp_path / "hold").touch()
    drain(first, 300.0)
    until(lambda: any("127.0.0.3 is about to go" in line for line in heard), 180)
    before = len(done())
    (tmp_path / "hold").unlink()
    search.join(240)
    assert not search.is_alive()
    trained = [(trial, epoch) for trial, epoch, _ in done()]
    assert len(trained) == len(set(trained)) == TRIALS * EPOCHS, "no epoch was trained twice"
    # The epoch in flight ended where it was, and nothing came after it there.
    assert sum(node == first for _, _, node in done()[before:]) <= 1
    assert "cluster  3 nodes: room for 2 trials" in heard
    assert "cluster  2 nodes: room for 1 trial" in heard
    ends = [e["message"]["status"] for e in messages(tmp_path) if e["message"]["kind"] == "end"]
    assert ends == ["completed"] * TRIALS


TRIALS, EPOCHS = 4, 5


def search_elastically(folder: Path, say: Callable[[str], None]) -> None:
    """Trials of a core each, on whatever nodes there are; none may be lost."""
    from automl.conductor.conductor import Conductor
    from automl.distributed.cluster import RayCluster
    from automl.distributed.fleet import Demand, ElasticFleet
    from automl.distributed.tune_run import TuneSettings, run_on_tune
    from automl.planning.groups import Group
    from automl.store.journal import Journal

    plain = {
        "space": {"alpha": {"float": [0, 1], "default": 0.5}},
        "search": {"trials": TRIALS, "min_epochs": EPOCHS},
        "train": {"epochs": EPOCHS},
    }
    demand = Demand(group=Group(workers=1), threads=1, wanted="auto")
    settings = TuneSettings(
        resources={"CPU": 1.0},
        fleet=ElasticFleet(RayCluster(), demand, clock=time.monotonic, say=say),
        max_failures=0,
        storage=folder / "ray",
    )
    with Journal(folder / "journal.jsonl") as log:
        conductor = Conductor(
            plan_of(Experiment.from_json(plain)), log, observer=Observers(), clock=time.monotonic
        )
        run_on_tune(conductor, partial(counting, folder=folder), settings)


def counting(config: TrialConfig, reporter: Reporter, *, folder: Path) -> None:
    """A trial whose checkpoint is a line a finished epoch, with the node that trained it."""
    import ray

    name = config.trial_id
    done = sorted(epoch for trial, epoch, _ in trained_epochs(folder) if trial == name)
    reporter.report(config, TrialMessage(kind="costs", seconds=0.0))
    if done and reporter.report(config, told(done[-1])) is not Verdict.CONTINUE:
        return
    for epoch in range(len(done) + 1, EPOCHS + 1):
        time.sleep(1.0)
        while (folder / "hold").exists():
            time.sleep(0.05)
        node = ray.get_runtime_context().get_node_id()
        with (folder / "epochs").open("a") as file:
            file.write(f"{name} {epoch} {node}\n")
        reporter.report(config, told(epoch))
    reporter.report(config, TrialMessage(kind="end", seconds=0.0, status="completed"))


def told(epoch: int) -> TrialMessage:
    return TrialMessage(kind="epoch", seconds=0.0, epoch=epoch, metrics={"miou": 0.5})


def trained_epochs(folder: Path) -> list[tuple[str, int, str]]:
    """Trial, epoch and node of each epoch, in the order in which they ended."""
    file = folder / "epochs"
    rows = file.read_text().splitlines() if file.exists() else []
    return [(row.split()[0], int(row.split()[1]), row.split()[2]) for row in rows]
