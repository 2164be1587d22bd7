"""What a running study exports is what dashboard and alerts ask for."""

import json
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from automl.conductor.conductor import Conductor
from automl.conductor.observers import Observers
from automl.data.importing import cached_dataset
from automl.jobs.context import JobContext
from automl.measurement.pace import Probe
from automl.planning.plan import Money, Option, Range, StudyPlan, write_plan
from automl.records import Measurement, TrialConfig, TrialMessage, TrialStatus, Verdict
from automl.reporting import Reporter
from automl.space.experiment import Experiment
from automl.space.search_plan import plan_of
from automl.store.journal import Journal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore:.*:ResourceWarning"),
]

MONITORING = Path(__file__).parents[2] / "cluster" / "monitoring"
EXPERIMENT = {
    "data": {"source": "builtin:surface-defects", "size": [32, 32]},
    "space": {"alpha": {"float": [0.0, 1.0], "default": 0.5}},
    "search": {"trials": 3, "sampler": "random"},
    "train": {"epochs": 1},
}


def asked_for() -> set[str]:
    """The metrics in every query of the dashboard and of the alerts."""
    panels = json.loads((MONITORING / "grafana" / "automl.json").read_text())["panels"]
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    texts = [target["expr"] for panel in panels for target in panel["targets"]]
    texts += [rule["expr"] for group in groups for rule in group["rules"]]
    return {name for text in texts for name in re.findall(r"\bray_\w+", text)}


def exported(port: int) -> dict[str, str]:
    """Each metric on a node's endpoint, with the lines of its samples."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    found: dict[str, str] = {}
    for line in lines:
        name = re.match(r"\w+", line)
        if name is not None:
            found[name.group()] = found.get(name.group(), "") + line + "\n"
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def endpoint(environment, monkeypatch) -> Iterator[int]:
    """The port of Prometheus' endpoint on a cluster of one node, which this process has joined."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    # Nodes report every two seconds instead of ten.
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "2000")
    from automl.distributed import connection

    connection.prepare_environment()
    import ray
    from ray.cluster_utils import Cluster

    port = free_port()
    head = {"num_cpus": 1, "metrics_export_port": port}
    nodes = Cluster(initialize_head=True, head_node_args=head)
    try:
        ray.init(nodes.address, log_to_driver=False)
        yield port
    finally:
        ray.shutdown()
        nodes.shutdown()


def test_every_metric_of_dashboard_and_alerts_is_exported(endpoint, cache, monkeypatch, tmp_path):
    study, go_on = tmp_path / "camvid", tmp_path / "go_on"
    study.mkdir()
    search = threading.Thread(target=run_study, args=(study, cache, go_on, monkeypatch))
    search.start()
    # This machine may have no GPU.
    wanted = {name for name in asked_for() if "gpu" not in name}
    deadline = time.monotonic() + 120
    found: dict[str, str] = {}
    while not wanted <= set(found) and time.monotonic() < deadline:
        time.sleep(0.5)
        found = exported(endpoint)
    go_on.touch()
    search.join()
    assert wanted - set(found) == set()
    ours = {name for name in found if name.startswith("ray_automl_")}
    assert ours <= wanted
    assert all('study="camvid"' in found[name] for name in ours)
    assert 'currency="USD"' in found["ray_automl_estimated_cost"]
    assert 'kind="TrialError"' in found["ray_automl_failures_total"]


def run_study(study: Path, cache: Path, go_on: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study whose trials are formulas: one fails, one ends well, the last one is still at it."""
    from automl.distributed import ray_backend

    def trial(
        config: TrialConfig, reporter: Reporter, *, context: JobContext, gpu_share: float
    ) -> None:
        cost = Measurement(metric="latency_ms", value=4.0)
        reporter.report(config, TrialMessage(kind="costs", seconds=0.1, measurements=(cost,)))
        if config.number == 1:
            end = TrialMessage(
                kind="end", seconds=0.2, status=TrialStatus.FAILED, reason="TrialError: planted"
            )
            reporter.report(config, end)
            return
        told = TrialMessage(kind="epoch", seconds=1.0, epoch=1, metrics={"miou": 0.5})
        if reporter.report(config, told) is not Verdict.CONTINUE:
            return
        while config.number == 2 and not go_on.exists():
            time.sleep(0.2)
        reporter.report(config, TrialMessage(kind="end", seconds=2.0, status=TrialStatus.COMPLETED))

    monkeypatch.setattr(ray_backend, "_run_one", trial)
    experiment = Experiment.from_json(EXPERIMENT)
    write_plan(study / "plan.json", plan_with_a_price(experiment))
    dataset = cached_dataset("builtin:surface-defects", size=(32, 32), split_seed=0, cache=cache)
    context = JobContext(
        experiment=experiment, study_root=study, dataset_root=dataset.root, threads=1
    )
    with Journal(study / "journal.jsonl") as log:
        conductor = Conductor(plan_of(experiment), log, observer=Observers(), clock=time.monotonic)
        ray_backend.RayBackend(experiment).run_trials(conductor, context, print)


def plan_with_a_price(experiment: Experiment) -> StudyPlan:
    """A plan, made up, of a study whose trials cost money."""
    some = Range(low=1.0, mid=2.0, high=3.0)
    option = Option(
        nodes=1,
        trials_at_a_time=1,
        wall_s=some,
        search_s=some,
        after_s=some,
        epochs=some,
        device_hours=some,
        node_hours=some,
        utilisation=1.0,
        money=Money(currency="USD", total=some, standing=0.0, device_hour=0.5),
    )
    probe = Probe(networks=(), process_s=1.0, device="cpu", cpu="any", threads=1, images={})
    return StudyPlan(
        made="2026-01-31T12:00:00+00:00",
        study_key=experiment.key(),
        trials=3,
        dataset="any",
        machines="any",
        probe=probe,
        assumptions=(),
        simulations=1,
        options=(option,),
    )
