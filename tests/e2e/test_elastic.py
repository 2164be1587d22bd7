"""Groups that lie as declared and leave a node that is about to go; trials that share GPUs."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from automl.conductor.observers import Observers
from automl.data.importing import cached_dataset
from automl.jobs.context import JobContext
from automl.jobs.costs import prepare_reference
from automl.records import TrialConfig, TrialMessage, TrialStatus
from automl.reporting import Reporter
from automl.space.experiment import Experiment
from automl.space.search_plan import plan_of
from automl.store.journal import Journal, read_journal
from automl.store.layout import StudyFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore:.*:ResourceWarning"),
]

PLAIN = {
    "data": {"size": [32, 32]},
    "space": {"encoder": "mobilenetv3_small_050", "decoder_width": 16, "batch_size": 16},
    "target": {"rounds": 3},
}


#: On how many of two nodes with room for both of them two workers lie.
PLACED = {"spread": 2, "strict_spread": 2, "pack": 1, "strict_pack": 1}


@pytest.fixture
def cluster(environment, free_port, monkeypatch) -> Iterator[Callable[..., Any]]:
    """Start a cluster with this head, and connect to it."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    from automl.distributed import connection

    connection.prepare_environment()
    from ray.cluster_utils import Cluster

    made = []

    def start(**head: object) -> Any:
        # The usual port may be that of a neighbour: this cluster would have no dashboard then.
        head = {"dashboard_port": free_port, **head}
        made.append(Cluster(initialize_head=True, head_node_args=head))
        connection.connect(made[0].address, worker_groups=True)
        return made[0]

    yield start
    import ray

    ray.shutdown()
    made[0].shutdown()


@pytest.mark.exhaustive  # trials of one process leave such a node in every run of test_cluster.py
@pytest.mark.timeout(600)  # two worker groups start, one after another
def test_groups_lie_as_declared_and_leave_a_node_that_is_about_to_go(
    cluster, drain, until, cache, tmp_path
):
    import ray

    nodes = cluster(num_cpus=0)
    two = {nodes.add_node(num_cpus=2).node_id for _ in range(2)}
    for placement, num_nodes in PLACED.items():
        until(lambda: ray.available_resources().get("CPU") == 4, 400)
        assert len(set(nodes_of_a_group(placement))) == num_nodes, placement
    plain = {
        "search": {"trials": 1, "max_failures": 0},
        "train": {"epochs": 6, "device": "cpu", "workers": 2, "placement": "strict_pack"},
    }
    heard: list[str] = []
    study = partial(run_study, Experiment.from_json({**PLAIN, **plain}), tmp_path, cache)
    search = threading.Thread(target=study, args=(heard.append,))
    search.start()
    until(lambda: len(reported(tmp_path, "epoch")) >= 1, 400)
    (leaving,) = set(nodes_of_running_group())
    drain(leaving, 600.0)
    until(lambda: {leaving} != set(nodes_of_running_group()) != set(), 400)
    (taken,) = set(nodes_of_running_group())
    assert taken in two - {leaving}
    until(lambda: len(reported(tmp_path, "end")) == 1, 400)
    search.join(60)
    assert not search.is_alive()
    assert [message["epoch"] for message in reported(tmp_path, "epoch")] == [1, 2, 3, 4, 5, 6]
    (end,) = reported(tmp_path, "end")
    assert end["status"] == "completed", end
    assert any("is about to go" in line for line in heard)


def test_trials_share_gpus_and_no_process_holds_more_than_its_share(
    cluster, cache, tmp_path, monkeypatch
):
    """Ray counts two GPUs that are not there: it places trials, and nothing runs on them."""
    from automl.distributed import gpu_sharing, ray_backend

    def measured(context: JobContext) -> tuple[int, int]:
        return 3 * 2**30, 10 * 2**30

    def trial(
        config: TrialConfig, reporter: Reporter, *, context: JobContext, gpu_share: float
    ) -> None:
        import ray

        now = ray.get_runtime_context()
        (gpu,) = now.get_accelerator_ids()["GPU"]
        (tmp_path / config.trial_id).write_text(f"{gpu} {now.get_assigned_resources()['GPU']}")
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("000?-*"))) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        end = TrialMessage(kind="end", seconds=0.0, status=TrialStatus.COMPLETED)
        reporter.report(config, end)

    monkeypatch.setattr(gpu_sharing, "_measure", measured)
    monkeypatch.setattr(ray_backend, "_run_one", trial)
    cluster(num_cpus=8, num_gpus=2)
    space = {"encoder": "mobilenetv3_small_050", "decoder_width": {"int": [16, 64], "step": 8}}
    plain = {"space": space, "search": {"trials": 4}, "train": {"gpu_share": "auto"}}
    heard: list[str] = []
    run_study(Experiment.from_json({**PLAIN, **plain}), tmp_path, cache, heard.append)
    took = [file.read_text().split() for file in tmp_path.glob("000?-*")]
    assert sorted(took) == [["0", "0.5"], ["0", "0.5"], ["1", "0.5"], ["1", "0.5"]]
    line = "gpu share  0.5 of a GPU a trial: the networks measured took up to 3072 of 10240 MiB"
    assert line in heard


def run_study(experiment: Experiment, root: Path, cache: Path, say: Callable[[str], None]) -> None:
    from automl.distributed.ray_backend import RayBackend

    dataset = cached_dataset("builtin:surface-defects", size=(32, 32), split_seed=0, cache=cache)
    StudyFolder.open_or_create(root, experiment.to_json(), experiment.key())
    context = JobContext(
        experiment=experiment, study_root=root, dataset_root=dataset.root, threads=1
    )
    with Journal(StudyFolder(root).journal_file) as journal:
        from automl.conductor.conductor import Conductor

        conductor = Conductor(
            plan_of(experiment), journal, observer=Observers(), clock=time.monotonic
        )
        prepare_reference(context)
        RayBackend(experiment).run_trials(conductor, context, say)


def nodes_of_a_group(placement: str) -> Sequence[str]:
    """Where two workers lie that are placed so."""
    from ray.util import placement_group, placement_group_table, remove_placement_group

    from automl.planning.groups import Group

    group = Group(workers=2, placement=placement)
    placed = placement_group(group.bundles(1), strategy=group.strategy)
    assert placed.wait(60)
    found: dict[int, str] = placement_group_table(placed)["bundles_to_node_id"]
    remove_placement_group(placed)
    return list(found.values())


def groups_of_two() -> list[dict[str, Any]]:
    from ray.util import placement_group_table

    return [
        group
        for group in placement_group_table().values()
        if len(group["bundles"]) == 2 and group["strategy"] == "STRICT_PACK"
    ]


def nodes_of_running_group() -> list[str]:
    running = [group for group in groups_of_two() if group["state"] == "CREATED"]
    return [node for group in running for node in group["bundles_to_node_id"].values()]


def reported(root: Path, kind: str) -> list[dict[str, Any]]:
    """The messages of a kind that are in the journal."""
    file = root / "journal.jsonl"
    events = read_journal(file) if file.exists() else []
    told = [event["message"] for event in events if event["kind"] == "message"]
    return [message for message in told if message["kind"] == kind]
