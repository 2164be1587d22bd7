import json
from dataclasses import replace

import pytest
import torch

from automl.compression.ladder import Ladder, Quality, Rung, conclusion
from automl.errors import StudyError, TrialError
from automl.jobs import compress, int8_candidate, students
from automl.jobs.compress import CompressJob, compress_candidate
from automl.jobs.network import build_network
from automl.jobs.students import student_parameters
from automl.measurement.latency import LatencyStats
from automl.records import Candidate, from_json, to_json
from automl.space.compression import Student
from automl.space.parameters import parameters_from
from automl.store.atomic import write_json
from automl.training.checkpoint import Checkpoint, save_checkpoint

COMPRESS = {
    "students": [
        {"pruning_ratio": 0.3},
        {"decoder_width_factor": 0.5, "pruning_ratio": 0.1},
    ],
    "epochs": 5,
    "learning_rate": 0.125,
    "temperature": 3.0,
    "logit_weight": 0.75,
    "channel_weight": 0.25,
    "calibration_images": 3,
}


class FakeStopwatch:
    """Gives what it is told to the first file of a call, and to the second."""

    def __init__(self, cpu_ms):
        self._cpu_ms = cpu_ms

    def describe(self):
        return "nowhere"

    def cpu(self):
        return "none"

    def time(self, artifacts, timing):
        assert all(path.stat().st_size for path in artifacts.values())
        still = {"p95_ms": 9, "p99_ms": 9, "spread_ms": 0, "cpu_spread_ms": 0}
        pairs = zip(artifacts, self._cpu_ms, strict=True)
        return {k: LatencyStats(p50_ms=ms, cpu_p50_ms=ms, **still) for k, ms in pairs}


@pytest.fixture
def job(context, config):
    """Make a job on trial 4; `student` counts from 0."""

    def make(student=None, *, cpu_ms=(2.0, 1.0), **changes):
        of = context(compress={**COMPRESS, **changes}, stopwatch=FakeStopwatch(cpu_ms))
        return CompressJob(context=of, config=config(4, decoder_width=32), student=student)

    return make


@pytest.fixture
def trained(job, dataset):
    """Leave the checkpoint of trial 4, as if it had been trained; its network."""
    of = job()
    model = build_network(parameters_from(of.config.params), dataset.info, seed=4)
    save_checkpoint(
        of.context.folder.trial(of.config.trial_id) / "checkpoint",
        Checkpoint(epoch=2, model_state=model.state_dict(), optimizer_state={}),
    )
    return model


@pytest.mark.parametrize(
    ("width", "factor", "expected"),
    [(64, 0.5, 32), (64, 1.0, 64), (24, 0.5, 16), (40, 0.5, 16), (56, 0.5, 32), (512, 0.01, 16)],
)
def test_a_student_has_a_scaled_width_that_a_network_may_have(width, factor, expected):
    teacher = parameters_from({"decoder_width": width, "alpha": 0.3, "pruning_ratio": 0.2})
    student = student_parameters(teacher, Student(decoder_width_factor=factor, pruning_ratio=0.5))
    assert student == replace(teacher, decoder_width=expected)


def test_a_student_learns_from_its_teacher_alone_and_with_all_layers():
    teacher = parameters_from(
        {"deep_supervision": 0.4, "freeze_epochs": 2, "ema_decay": 0.9, "ema_distillation": 0.5}
    )
    student = student_parameters(teacher, Student())
    assert (student.deep_supervision, student.freeze_epochs, student.ema_decay) == (0, 0, 0.9)
    assert student.ema_distillation == 0


def test_a_student_steps_as_its_teacher_did():
    sampled = {"warmup_epochs": 0.5, "accumulate": 2, "clip_norm": "none"}
    student = student_parameters(parameters_from(sampled), Student())
    assert {name: student.values()[name] for name in sampled} == sampled
    assert not set(sampled) & set(student_parameters(parameters_from({}), Student()).values())


def quality(miou=0.5):
    return Quality(miou=miou, iou={"ground": 0.9, "red": 0.1})


def ladder(network="trial4", *, chosen="per_channel", outcome="accepted"):
    rung = Rung(name="per_channel", outcome=outcome, reason="because", quality=quality())
    return Ladder(
        network=network,
        runtime="onnxruntime",
        float_quality=quality(),
        float_size_mb=1.0,
        rungs=(rung,),
        chosen=chosen,
        reason=conclusion([rung], rung if chosen else None),
    )


def test_what_is_on_disk_is_not_made_again(job, monkeypatch):
    of = job()
    monkeypatch.setattr(compress, "_trained", lambda _job: pytest.fail("made again"))
    for name in ("trial4-fp32", "trial4-int8"):
        folder = of.context.folder.candidate(name)
        folder.mkdir(parents=True)
        (folder / "candidate.json").write_text("{}")
    finished = of.context.folder.candidate("trial4-ladder")
    finished.mkdir()
    write_json(finished / "ladder.json", to_json(ladder()))
    outcome = compress_candidate(of)
    assert outcome.candidate_ids == ("trial4-fp32", "trial4-int8")
    assert outcome.summary == "done before"


def test_a_job_with_one_of_two_files_is_not_done(job):
    of = job()
    folder = of.context.folder.candidate("trial4-fp32")
    folder.mkdir(parents=True)
    (folder / "candidate.json").write_text("{}")
    assert compress_candidate(of).summary != "done before"


def test_a_trial_without_checkpoint_fails_alone_and_tells_where_to_look(job):
    of = job()
    threads = torch.get_num_threads()
    outcome = compress_candidate(of)
    assert outcome.candidate_ids == ()
    assert outcome.summary.startswith("failed: TrialError: ")
    assert "no whole checkpoint is left" in outcome.summary
    log = of.context.folder.trial("trial4") / "error.txt"
    assert str(log) in outcome.summary
    assert "Traceback" in log.read_text()
    assert torch.get_num_threads() == threads


def test_who_times_being_lost_ends_the_study_and_marks_no_network_as_failed(
    job, trained, monkeypatch
):
    of = job()

    def lost(*_args, **_kwargs):
        raise StudyError("the agent is gone")

    monkeypatch.setattr(compress, "export_wrapped", lost)
    with pytest.raises(StudyError, match="the agent is gone"):
        compress_candidate(of)
    assert not (of.context.folder.trial(of.name) / "error.txt").exists()


def test_a_half_written_candidate_leaves_nothing_behind(job, trained, monkeypatch):
    def fail(_model, artifact, _info, _normalisation):
        artifact.write_bytes(b"half")
        raise TrialError("the disk is full")

    monkeypatch.setattr(compress, "export_wrapped", fail)
    of = job()
    assert compress_candidate(of).candidate_ids == ()
    assert list(of.context.folder.candidates.iterdir()) == []


class FakeExport:
    """In place of ONNX: files of a few bytes, and a ladder that makes one rung, or refuses it."""

    def __init__(self, monkeypatch, outcome="accepted"):
        self.calibration = []
        self.outcome = outcome
        monkeypatch.setattr(compress, "export_wrapped", self._export)
        monkeypatch.setattr(int8_candidate, "wrap_core", self._wrap)
        monkeypatch.setattr(int8_candidate, "climb_ladder", self._climb)

    def _export(self, _model, artifact, _info, _normalisation):
        artifact.write_bytes(b"x" * 4000)
        artifact.with_name("core.onnx").write_bytes(b"core")

    def _wrap(self, artifact, _info, _normalisation):
        artifact.write_bytes(artifact.with_name("core.onnx").read_bytes() * 100)

    def _climb(self, task, hear):
        assert task.material.core.read_bytes() == b"core"
        self.calibration = list(task.material.calibration(task.material.images))
        folder = task.folder / "per_channel"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "core.onnx").write_bytes(b"int8")
        task.wrap(folder / "model.onnx")
        chosen = None if self.outcome == "refused" else "per_channel"
        return ladder(task.network, chosen=chosen, outcome=self.outcome)


def candidate(of, name):
    text = (of.context.folder.candidate(name) / "candidate.json").read_text()
    return from_json(Candidate, json.loads(text))


def test_a_trained_trial_becomes_two_candidates(job, trained, monkeypatch, dataset):
    export = FakeExport(monkeypatch)
    of = job()
    outcome = compress_candidate(of)
    assert outcome.candidate_ids == ("trial4-fp32", "trial4-int8"), outcome.summary
    whole, small = (candidate(of, name) for name in outcome.candidate_ids)
    for made in (whole, small):
        assert made.lineage.trial_id == of.config.trial_id
        assert made.lineage.kind == "trial"
        assert made.lineage.recipe["epochs"] == 2
        assert made.params["decoder_width"] == 32
        assert made.artifact == f"candidates/{made.candidate_id}/model.onnx"
        assert of.context.folder.absolute(made.artifact).exists()
        assert made.normalisation == dataset.info.normalisation
    assert small.lineage.recipe["int8_rung"] == "per_channel"
    assert small.lineage.recipe["int8"] == whole.lineage.recipe["int8"]
    assert (whole.lineage.precision, small.lineage.precision) == ("fp32", "int8")
    assert (whole.value("size_mb"), small.value("size_mb")) == (0.004, 0.0004)
    assert whole.value("params_m") == small.value("params_m") > 0
    assert [image.shape for image in export.calibration] == [(1, 3, 32, 32)] * 3
    assert abs(export.calibration[0].mean()) < 1, "the bare network takes normalised images"


def test_a_refused_int8_form_is_no_candidate_and_the_float_one_says_why(job, trained, monkeypatch):
    FakeExport(monkeypatch, outcome="refused")
    of = job()
    stale = of.context.folder.candidate("trial4-int8")
    stale.mkdir(parents=True)
    (stale / "candidate.json").write_text("{}")
    outcome = compress_candidate(of)
    assert outcome.candidate_ids == ("trial4-fp32",)
    assert outcome.summary == "exported trial4-fp32; int8 refused: per_channel: because"
    assert not stale.exists()
    made = candidate(of, "trial4-fp32")
    assert made.lineage.recipe["int8"] == "int8 refused: per_channel: because"
    assert compress_candidate(of).summary == "done before"


def test_an_int8_form_that_is_only_smaller_is_marked(job, trained, monkeypatch):
    FakeExport(monkeypatch, outcome="smaller")
    of = job()
    assert compress_candidate(of).candidate_ids == ("trial4-fp32", "trial4-int8")
    assert candidate(of, "trial4-int8").for_size_alone
    assert not candidate(of, "trial4-fp32").for_size_alone


def test_without_int8_there_is_no_ladder(job, trained, monkeypatch):
    FakeExport(monkeypatch)
    outcome = compress_candidate(job(int8=False))
    assert outcome.candidate_ids == ("trial4-fp32",)
    assert not job().context.folder.candidate("trial4-ladder").exists()


def test_every_compress_setting_reaches_the_distillation(job, trained, monkeypatch):
    FakeExport(monkeypatch)
    fitted = []

    def fit(model, _dataset, settings, *, step_loss, reporter, checkpoint_folder):
        fitted.append((model, settings, step_loss, checkpoint_folder))

    monkeypatch.setattr(students, "fit", fit)
    of = job(1)
    outcome = compress_candidate(of)
    assert outcome.candidate_ids == ("trial4-student2-fp32", "trial4-student2-int8")
    ((model, settings, loss, folder),) = fitted
    assert (settings.epochs, settings.learning_rate) == (5, 0.125)
    assert settings.batch_size == 4
    assert loss.settings.temperature == 3.0
    assert (loss.settings.logit_weight, loss.settings.channel_weight) == (0.75, 0.25)
    assert folder == of.context.folder.trials / "trial4-student2" / "checkpoint"
    teacher = sum(value.numel() for value in trained.parameters())
    assert sum(value.numel() for value in model.parameters()) < teacher
    made = candidate(of, "trial4-student2-fp32")
    assert made.lineage.kind == "student"
    assert made.lineage.teacher == "trial4-fp32"
    assert made.params["decoder_width"] == 16
    expected = {"decoder_width_factor": 0.5, "student_pruning_ratio": 0.1, "temperature": 3.0}
    assert expected.items() <= made.lineage.recipe.items()
    assert made.lineage.recipe["inherited_tensors"] > 0
    params_m = sum(value.numel() for value in model.parameters()) / 1e6
    assert made.value("params_m") == pytest.approx(params_m, rel=0.01)


@pytest.mark.parametrize(
    ("mixes", "views", "told"),
    [({}, 3, "3 views"), ({"cutmix": 0.5}, 0, "not used: the trial mixes images (cutmix)")],
)
def test_a_student_recalls_its_teacher_where_that_is_declared_and_nothing_is_mixed(
    job, trained, monkeypatch, mixes, views, told
):
    FakeExport(monkeypatch)
    fitted = []

    def fit(_model, _dataset, settings, *, step_loss, reporter, checkpoint_folder):
        fitted.append((settings.views, step_loss._recorded))

    monkeypatch.setattr(students, "fit", fit)
    of = job(0, teacher_cache={"views": 3})
    of = replace(of, config=replace(of.config, params={**of.config.params, **mixes}))
    save_checkpoint(
        of.context.folder.trial(of.config.trial_id) / "checkpoint",
        Checkpoint(epoch=2, model_state=trained.state_dict(), optimizer_state={}),
    )
    outcome = compress_candidate(of)
    ((given, recorded),) = fitted
    assert given == views
    assert (recorded is not None) == (views > 0)
    assert of.context.folder.teaching.exists() == (views > 0)
    assert f"teacher cache {told}" in outcome.summary
    assert candidate(of, "trial4-student1-fp32").lineage.recipe["teacher_cache"] == told


def not_trained(*_given, **_named):
    """In place of a training: the student stays as pruned."""


@pytest.mark.parametrize(
    ("cpu_ms", "size_alone", "verdict"),
    [
        ((2.0, 1.0), False, "accepted: 100 % faster than its teacher"),
        ((1.05, 1.0), False, "accepted: 5 % faster than its teacher"),
        (
            (1.04, 1.0),
            True,
            "refused: 4 % faster than its teacher (at least 1.05 x the speed is needed)",
        ),
        (
            (1.0, 2.0),
            True,
            "refused: 50 % slower than its teacher (at least 1.05 x the speed is needed)",
        ),
    ],
)
def test_a_pruned_student_that_is_not_faster_is_kept_for_its_size_alone(
    job, trained, monkeypatch, cpu_ms, size_alone, verdict
):
    FakeExport(monkeypatch)
    monkeypatch.setattr(students, "fit", not_trained)
    outcome = compress_candidate(job(0, cpu_ms=cpu_ms))
    of = job(0)
    whole, small = (candidate(of, name) for name in outcome.candidate_ids)
    assert whole.for_size_alone is size_alone
    assert whole.lineage.recipe["pruning"] == small.lineage.recipe["pruning"] == verdict
    assert f"; pruning {verdict}; int8 " in outcome.summary
    # Its INT8 form is judged by its own ladder.
    assert not small.for_size_alone


def test_a_student_that_is_not_pruned_meets_no_gate(job, trained, monkeypatch):
    FakeExport(monkeypatch)
    monkeypatch.setattr(students, "fit", not_trained)
    of = job(0, cpu_ms=(), students=[{"decoder_width_factor": 0.5}])
    outcome = compress_candidate(of)
    assert "pruning" not in outcome.summary
    assert "pruning" not in candidate(of, "trial4-student1-fp32").lineage.recipe


def test_a_family_is_students_by_their_ratios_after_the_declared_ones(job, trained, monkeypatch):
    FakeExport(monkeypatch)
    fitted = []

    def fit(model, _dataset, settings, *, step_loss, reporter, checkpoint_folder):
        count = sum(value.numel() for value in model.parameters())
        fitted.append((count, settings.epochs, checkpoint_folder.name))

    monkeypatch.setattr(students, "fit", fit)
    family = {"ratios": [0.25, 0.5], "epochs": 3, "importance": "taylor", "steps": 2}
    for number in (2, 3):
        of = job(number, family=family, feature_weight=0.5)
        outcome = compress_candidate(of)
        assert outcome.candidate_ids[0] == f"trial4-student{number + 1}-fp32", outcome.summary
        recipe = candidate(of, outcome.candidate_ids[0]).lineage.recipe
        assert recipe["student_pruning_ratio"] == family["ratios"][number - 2]
        assert (recipe["pruning_importance"], recipe["pruning_steps"]) == ("taylor", 2)
        assert recipe["feature_weight"] == 0.5
    assert [(epochs, place) for _, epochs, place in fitted] == 2 * [
        (1, "checkpoint-step1"),
        (2, "checkpoint"),
    ]
    counts = [count for count, _, _ in fitted]
    assert counts[0] > counts[1] > counts[3]
    assert counts[0] > counts[2] > counts[3]


def test_a_family_that_was_killed_goes_on_where_it_was(job, trained, monkeypatch):
    """Killed after the first step of the second of two members: what is done is not trained."""
    FakeExport(monkeypatch)
    family = {"ratios": [0.3, 0.6], "epochs": 2, "steps": 2}
    of = [job(number, students=[], family=family, int8=False) for number in (0, 1)]
    assert compress_candidate(of[0]).candidate_ids == ("trial4-student1-fp32",)
    real, begun = students.fit, []

    def killed(model, *given, checkpoint_folder, **named):
        begun.append(checkpoint_folder.name)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return real(model, *given, checkpoint_folder=checkpoint_folder, **named)

    monkeypatch.setattr(students, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        compress_candidate(of[1])
    trained_epochs = []

    def watched(model, *given, checkpoint_folder, **named):
        done = sorted(path.name for path in checkpoint_folder.glob("epoch-*"))
        trained_epochs.append((checkpoint_folder.name, done))
        return real(model, *given, checkpoint_folder=checkpoint_folder, **named)

    monkeypatch.setattr(students, "fit", watched)
    outcomes = [compress_candidate(one) for one in of]
    assert outcomes[0].summary == "done before"
    assert outcomes[1].candidate_ids == ("trial4-student2-fp32",)
    assert [name for name, _ in trained_epochs] == ["checkpoint-step1", "checkpoint"]
    assert trained_epochs[0][1], "the first step's epoch is on disk, and is not trained again"
    assert trained_epochs[1][1] == []


def test_all_winners_teach_a_student_where_that_is_declared(job, trained, monkeypatch, config):
    """The mean of the winners' softened probabilities; features are those of its own teacher."""
    FakeExport(monkeypatch)
    losses = []
    monkeypatch.setattr(
        students, "fit", lambda *_given, step_loss, **_named: losses.append(step_loss)
    )
    of = job(0, teachers="winners", channel_weight=0.0)
    peer = CompressJob(context=of.context, config=config(7, decoder_width=24))
    info = of.context.dataset().info
    other = build_network(parameters_from(peer.config.params), info, seed=7)
    save_checkpoint(
        of.context.folder.trial(peer.config.trial_id) / "checkpoint",
        Checkpoint(epoch=2, model_state=other.state_dict(), optimizer_state={}),
    )
    outcome = compress_candidate(replace(of, peers=(peer,)))
    assert candidate(of, outcome.candidate_ids[0]).lineage.recipe["teachers"] == "trial4, trial7"
    images_nchw = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    (teacher,) = losses[0]._teacher
    with torch.no_grad():
        each = [net.eval()(images_nchw) / 3.0 for net in (trained, other)]
        mean = sum(z.softmax(1) for z in each) / 2
        found = (teacher(images_nchw) / 3.0).softmax(1)
    torch.testing.assert_close(found, mean, rtol=1e-4, atol=1e-6)
