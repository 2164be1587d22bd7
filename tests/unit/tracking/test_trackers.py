"""What TensorBoard and MLflow hold of a study, read back by their own readers."""

import warnings
from pathlib import Path

import pytest

from automl.errors import UsageError
from automl.records import (
    Measurement,
    TrialConfig,
    TrialMessage,
    TrialStatus,
    Verdict,
    to_json,
)
from automl.tracking.choice import programs_of
from automl.tracking.tracker import Tracking, replay

CONFIG = TrialConfig(number=3, seed=7, params={"encoder": "resnet18", "alpha": 0.25})
COSTS = TrialMessage(
    kind="costs", seconds=0.0, measurements=(Measurement(metric="latency_ms", value=4.5),)
)
END = TrialMessage(kind="end", seconds=9.0, status=TrialStatus.FAILED, reason="TrialError: nan")


def epoch(number: int, miou: float) -> TrialMessage:
    return TrialMessage(kind="epoch", seconds=1.0, epoch=number, metrics={"miou": miou})


def events(*messages: TrialMessage) -> list[dict]:
    """A journal of one trial."""
    told = [
        {
            "kind": "message",
            "trial_id": CONFIG.trial_id,
            "message": to_json(m),
            "verdict": "continue",
        }
        for m in messages
    ]
    return [{"kind": "proposed", "config": to_json(CONFIG)}, *told]


class TestTensorBoard:
    def read(self, folder: Path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TensorBoard's own, at import
            from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        reader = EventAccumulator(str(folder / CONFIG.trial_id))
        reader.Reload()
        return reader

    def test_curves_costs_and_parameters_are_what_was_told(self, tmp_path):
        from automl.tracking.tensorboard import TensorBoardTracker

        tracker = TensorBoardTracker(tmp_path / "tb")
        replay(events(COSTS, epoch(1, 0.25), epoch(2, 0.5), END), tracker)
        tracker.close()
        reader = self.read(tmp_path / "tb")
        curve = [(point.step, point.value) for point in reader.Scalars("epoch/miou")]
        assert curve == [(1, 0.25), (2, 0.5)]
        assert [point.value for point in reader.Scalars("cost/latency_ms")] == [4.5]
        (parameters,) = reader.Tensors("parameters/text_summary")
        assert b"resnet18" in parameters.tensor_proto.string_val[0]
        (end,) = reader.Tensors("end/text_summary")
        assert end.tensor_proto.string_val == [b"failed: TrialError: nan"]

    def test_a_study_that_goes_on_has_nothing_twice(self, tmp_path):
        from automl.tracking.tensorboard import TensorBoardTracker

        for messages in ([epoch(1, 0.25)], [epoch(1, 0.25), epoch(2, 0.5)]):
            tracker = TensorBoardTracker(tmp_path / "tb")
            replay(events(*messages), tracker)
            tracker.close()
        assert [point.step for point in self.read(tmp_path / "tb").Scalars("epoch/miou")] == [1, 2]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:.*:ResourceWarning")
class TestMlflow:
    @pytest.fixture
    def study(self, tmp_path, monkeypatch, pristine_bundle):
        """A study that was followed through two pauses, and whose last run was started again."""
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
        from automl.tracking.mlflow import MlflowTracker

        study = tmp_path / "camvid"
        (study / "bundles").mkdir(parents=True)
        (study / "bundles" / "best").symlink_to(pristine_bundle)
        (study / "report.md").write_text("# Report\n")
        told = [COSTS, epoch(1, 0.25), epoch(2, 0.5)]
        for messages in (told, [*told, epoch(3, 0.75), END], [*told, epoch(3, 0.75), END]):
            tracker = MlflowTracker("camvid", study / "mlflow")
            replay(events(*messages), tracker)
        tracker.finish(study)
        tracker.finish(study)
        return study

    def test_runs_and_the_registered_bundle_are_what_was_told_once(self, study, pristine_bundle):
        from mlflow.tracking import MlflowClient

        uri = f"sqlite:///{study}/mlflow/mlflow.db"
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        experiment = client.get_experiment_by_name("camvid")
        runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
        assert set(runs) == {"trial 3", "study"}
        trial = runs["trial 3"]
        assert trial.data.params == {"encoder": "resnet18", "alpha": "0.25", "seed": "7"}
        assert trial.info.status == "FAILED"
        assert trial.data.tags["automl.reason"] == "TrialError: nan"
        history = client.get_metric_history(trial.info.run_id, "miou")
        assert [(point.step, point.value) for point in history] == [(1, 0.25), (2, 0.5), (3, 0.75)]
        assert trial.data.metrics["latency_ms"] == 4.5
        names = {file.path for file in client.list_artifacts(runs["study"].info.run_id)}
        assert "report.md" in names
        (version,) = client.search_model_versions("name = 'automl-camvid'")
        place = client.download_artifacts(version.run_id, version.source.rpartition("/")[2])
        network = "model.onnx"
        assert (Path(place) / network).read_bytes() == (pristine_bundle / network).read_bytes()


class Broken:
    """A server that goes away at the second message."""

    def __init__(self):
        self.heard = 0

    def on_message(self, config, message):
        self.heard += 1
        if self.heard == 2:
            raise ConnectionError("nobody answers\nwith details")

    def finish(self, study):
        raise AssertionError

    def close(self):
        raise AssertionError


def test_a_fault_of_the_other_program_is_told_once_and_ends_nothing_else():
    said, broken = [], Broken()
    tracking = Tracking("mlflow", lambda: broken, said.append)
    for number in range(4):
        tracking.on_message(CONFIG, epoch(number + 1, 0.5), Verdict.CONTINUE)
    tracking.finish(Path())
    tracking.close()
    assert broken.heard == 2
    assert said == ["mlflow: nobody answers; it follows no more, the study goes on"]


def test_a_program_that_cannot_start_is_told():
    def start():
        raise OSError("no such server")

    said = []
    Tracking("mlflow", start, said.append).on_message(CONFIG, COSTS, Verdict.CONTINUE)
    assert said == ["mlflow: no such server; it follows no more, the study goes on"]


def test_unknown_programs_and_those_that_are_missing_are_told(monkeypatch):
    assert programs_of(None) == ()
    assert programs_of("tensorboard, mlflow") == ("tensorboard", "mlflow")
    with pytest.raises(UsageError, match="--track: given 'wandb'; allowed: tensorboard, mlflow"):
        programs_of("wandb")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'automl\[mlflow\]'"):
        programs_of("mlflow")
