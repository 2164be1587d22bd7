"""Answers of a study's teachers: recorded once, for whom they are right, and asked no more."""

from dataclasses import replace

import pytest
import torch

from automl.compression.distill import DistillationSettings, pixel_distillation
from automl.jobs import teaching
from automl.jobs.int8_tuning import NeverStop
from automl.jobs.network import build_network
from automl.jobs.settings import class_weights, combined_loss, fit_settings
from automl.jobs.students import teaching_loss
from automl.jobs.teaching import Recording, forget_answers, recorded, views_for
from automl.space.compression import CompressSettings, TeacherCache
from automl.space.parameters import TrialParameters
from automl.store.layout import StudyFolder
from automl.training.loop import fit

PARAMS = TrialParameters(
    encoder="mobilenetv3_small_050", decoder_width=16, batch_size=4, augmentation="medium"
)
COMPRESS = CompressSettings(teacher_cache=TeacherCache(views=2), channel_weight=1.0)


@pytest.fixture
def make_recording(context, dataset, tmp_path):
    train = context().experiment.train

    def make(*, weights=3, compress=COMPRESS, **changes):
        settings = fit_settings(
            PARAMS, train, normalisation=dataset.info.normalisation, seed=5, epochs=3
        )
        return Recording(
            place=tmp_path / "teaching",
            teacher=build_network(PARAMS, dataset.info, seed=weights),
            dataset=dataset,
            settings=replace(settings, **{"views": 2, **changes}),
            compress=compress,
        )

    return make


@pytest.mark.parametrize(
    ("changes", "views"),
    [({}, 2), ({"augmentation": "none"}, 1), ({"cutmix": 0.5}, 0), ({"mixup": 0.1}, 0)],
)
def test_views_are_recorded_where_they_come_again(changes, views):
    assert views_for(COMPRESS, replace(PARAMS, **changes)) == views
    assert views_for(CompressSettings(), replace(PARAMS, **changes)) == 0


def test_answers_are_recorded_once(make_recording, monkeypatch):
    first = recorded(make_recording())
    monkeypatch.setattr(teaching, "record_answers", None)
    assert recorded(make_recording()).folder == first.folder


def test_a_recording_that_was_killed_leaves_none(make_recording, monkeypatch, tmp_path):
    def killed(folder, *_args, **_kwargs):
        (folder / "answers.arrow").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(teaching, "record_answers", killed)
        with pytest.raises(KeyboardInterrupt):
            recorded(make_recording())
    assert recorded(make_recording()).folder.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": 4},
        {"views": 3},
        {"seed": 6},
        {"augmentation": "light"},
        {"compress": COMPRESS.model_copy(update={"channel_weight": 0.0})},
        {"compress": COMPRESS.model_copy(update={"temperature": 3.0})},
    ],
)
def test_all_that_decides_the_answers_is_in_the_key(make_recording, changes):
    assert make_recording(**changes).key != make_recording().key
    assert make_recording(epochs=9, learning_rate=0.1).key == make_recording().key


def test_a_student_costs_no_pass_of_the_teacher_and_learns_the_same(
    make_recording, dataset, monkeypatch
):
    """The views are those of the first epochs: two are as if the teacher itself had taught."""
    recording = make_recording()
    answers = recorded(recording)
    student = replace(PARAMS, decoder="fpn")
    losses, passes = {}, {}
    for kind in ("live", "recorded"):
        model = build_network(student, dataset.info, seed=1)
        loss = teaching_loss(
            model,
            recording.teacher,
            settings=DistillationSettings(channel_weight=1.0),
            params=student,
            dataset=dataset,
            seed=1,
        )
        if kind == "recorded":
            loss.recall(answers)
        counted = []
        teacher = loss._teacher[0]
        forward = teacher.forward_with_features
        monkeypatch.setattr(
            teacher,
            "forward_with_features",
            lambda images, forward=forward, counted=counted: counted.append(1) or forward(images),
        )
        settings = replace(recording.settings, views=2 if kind == "recorded" else 0)
        fitted = fit(model, dataset, settings, step_loss=loss, reporter=NeverStop())
        losses[kind], passes[kind] = fitted.losses, len(counted)
    assert passes == {"live": 6, "recorded": 0}
    assert losses["recorded"][:2] == pytest.approx(losses["live"][:2], rel=1e-3)
    assert losses["recorded"][2] != pytest.approx(losses["live"][2], rel=1e-4)


def test_what_was_recorded_goes_when_students_are_done(make_recording, tmp_path):
    recorded(make_recording())
    folder = StudyFolder(tmp_path)
    assert list(folder.teaching.iterdir())
    forget_answers(folder)
    assert not folder.teaching.exists()
    forget_answers(folder)


@pytest.mark.parametrize("kind", ["none", "balanced"])
def test_a_trials_class_weights_are_those_of_its_distillation(dataset, kind):
    params = replace(PARAMS, class_weights=kind)
    student, teacher = (build_network(params, dataset.info, seed=seed).eval() for seed in (1, 2))
    loss = teaching_loss(
        student,
        teacher,
        settings=DistillationSettings(channel_weight=0.0),
        params=params,
        dataset=dataset,
        seed=1,
    )
    images = torch.randn(2, 3, *dataset.info.size, generator=torch.Generator().manual_seed(0))
    target = torch.zeros(2, *dataset.info.size, dtype=torch.long)
    weights = class_weights(params, dataset.info)
    expected = combined_loss(params, dataset.info)(student(images), target)
    expected = expected + pixel_distillation(student(images), teacher(images), 2.0, weights)
    torch.testing.assert_close(loss(student, images, target), expected)
