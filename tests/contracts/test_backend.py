"""What every backend owes a search; one suite, run on this process and on Ray."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from automl.backend import Backend, LocalBackend
from automl.conductor.conductor import Conductor
from automl.conductor.observers import Observers
from automl.data.importing import cached_dataset
from automl.jobs.context import JobContext
from automl.jobs.costs import prepare_reference
from automl.records import TrialResult, TrialStatus
from automl.space.experiment import Experiment
from automl.space.search_plan import plan_of
from automl.store.journal import Journal, read_journal
from automl.store.layout import StudyFolder

pytestmark = [pytest.mark.slow, pytest.mark.ray]

EXPERIMENT = {
    "data": {"size": [32, 32]},
    "space": {
        "encoder": {"choice": ["mobilenetv3_small_050", "resnet18"]},
        "decoder_width": {"int": [16, 32], "step": 8, "default": 16},
        "pretrained": {"choice": [False, "/nowhere.safetensors"]},
        "batch_size": 16,
    },
    "constraints": {"params_m": 3},
    "search": {
        "trials": 4,
        "sampler": "random",
        "points": [
            {"encoder": "resnet18"},
            {"pretrained": "/nowhere.safetensors"},
            {"decoder_width": 24},
        ],
    },
    "train": {"epochs": 2, "device": "cpu"},
    "target": {"rounds": 3},
}


@pytest.fixture(params=["local", "ray"])
def backend_name(request) -> str:
    return request.param


@pytest.fixture
def make_backend(backend_name, monkeypatch) -> Iterator[object]:
    made: list[Backend] = []

    def make(experiment: Experiment) -> Backend:
        if backend_name == "local":
            return LocalBackend(experiment)
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        from automl.distributed import connection

        connection.prepare_environment()
        connection.connect(None)
        from automl.distributed.ray_backend import RayBackend

        made.append(RayBackend(experiment))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def run(backend: Backend, experiment: Experiment, root: Path, cache: Path) -> list[TrialResult]:
    dataset = cached_dataset("builtin:surface-defects", size=(32, 32), split_seed=0, cache=cache)
    StudyFolder.open_or_create(root, experiment.to_json(), experiment.key())
    context = JobContext(
        experiment=experiment, study_root=root, dataset_root=dataset.root, threads=1
    )
    with Journal(StudyFolder(root).journal_file) as journal:
        ticks = iter(range(10**6))
        conductor = Conductor(
            plan_of(experiment), journal, observer=Observers(), clock=lambda: float(next(ticks))
        )
        prepare_reference(context)
        backend.run_trials(conductor, context, print)
        return conductor.results()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
def test_trials_end_as_they_deserve_and_none_ends_the_search(make_backend, tmp_path, cache):
    experiment = Experiment.from_json(EXPERIMENT)
    results = run(make_backend(experiment), experiment, tmp_path, cache)
    assert [result.config.number for result in results] == [0, 1, 2, 3]
    default, infeasible, failed, last = results
    assert default.status is TrialStatus.COMPLETED
    assert default.epochs == 2
    assert default.value("miou") is not None
    assert infeasible.status is TrialStatus.INFEASIBLE
    assert infeasible.epochs == 0
    assert "params_m" in infeasible.reason
    assert failed.status is TrialStatus.FAILED
    assert "/nowhere.safetensors" in failed.reason
    assert last.status in (TrialStatus.COMPLETED, TrialStatus.STOPPED)
    checkpoint = tmp_path / default.checkpoint
    assert (checkpoint / "epoch-00002" / "model.safetensors").exists()
    assert last.measurements[0].value == last.value(last.measurements[0].metric)


PROMOTING = {
    **EXPERIMENT,
    "space": {**EXPERIMENT["space"], "encoder": "mobilenetv3_small_050", "pretrained": False},
    "search": {"trials": 5, "sampler": "random", "eta": 2, "concurrent": 1},
    "train": {"epochs": 3, "device": "cpu"},
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
def test_a_paused_trial_trains_no_further_until_it_is_promoted(make_backend, tmp_path, cache):
    """One worker, four trials beside the default: two go on from epoch 1, one from epoch 2."""
    experiment = Experiment.from_json(PROMOTING)
    results = run(make_backend(experiment), experiment, tmp_path, cache)
    epochs = [result.epochs for result in results]
    assert epochs[0] == 3
    assert sorted(epochs[1:]) == [1, 1, 2, 3]
    for result in results:
        kept = sorted((tmp_path / str(result.checkpoint)).glob("epoch-*"))
        assert kept[-1].name == f"epoch-{result.epochs:05d}", "nothing was trained beyond the pause"
    events = read_journal(StudyFolder(tmp_path).journal_file)
    verdicts = [e["verdict"] for e in events if e["kind"] == "message"]
    assert verdicts.count("pause") >= 2
    trained = [
        (e["trial_id"], e["message"]["epoch"])
        for e in events
        if e["kind"] == "message" and e["message"]["kind"] == "epoch"
    ]
    assert len(trained) == len(set(trained)) == sum(epochs), "no epoch was trained twice"


def double(item: int) -> int:
    return 2 * item


def test_map_jobs_answers_each_item_once(make_backend):
    experiment = Experiment.from_json(EXPERIMENT)
    backend = make_backend(experiment)
    assert sorted(backend.map_jobs(double, [1, 2, 3])) == [(1, 2), (2, 4), (3, 6)]
