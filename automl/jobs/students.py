"""A student of a trained trial: it inherits what fits, is pruned, and learns from its teacher."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from automl.compression.distill import DistillationLoss, DistillationSettings, feature_channels
from automl.compression.ensemble import teaching_together
from automl.compression.matching import FeatureMatching, stage_shapes
from automl.data.dataset import Dataset
from automl.jobs.candidates import FinishedNetwork
from automl.jobs.context import JobContext
from automl.jobs.inheritance import inherit_weights
from automl.jobs.int8_tuning import KeepGoing
from automl.jobs.narrowing import Narrowing, narrow_and_tune
from automl.jobs.network import build_network
from automl.jobs.settings import class_weights, combined_loss, fit_settings
from automl.jobs.speed import wanted_of, with_fastest, without_compiling
from automl.jobs.teaching import Recording, mixes_of, recorded, views_for
from automl.models.build import SegmentationNet
from automl.records import Lineage, Scalar, TrialConfig
from automl.space.compression import CompressSettings, Student
from automl.space.parameters import TrialParameters
from automl.space.pruning import PruningSettings
from automl.training.loop import fit
from automl.training.settings import FitSettings

_WIDTH_STEP = 8

#: Where a student's recipe says whether its teacher's answers were recorded.
TEACHER_CACHE = "teacher_cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """Student number `index` of a trial, called `name`, its teacher, and who teaches beside it."""

    context: JobContext
    config: TrialConfig
    index: int
    name: str
    teacher: FinishedNetwork
    peers: tuple[FinishedNetwork, ...] = ()

    @property
    def compress(self) -> CompressSettings:
        """What is declared."""
        return self.context.experiment.compress

    @property
    def student(self) -> Student:
        """What is declared of this student."""
        return self.compress.all_students[self.index]


def student_parameters(teacher: TrialParameters, student: Student) -> TrialParameters:
    """The teacher's parameters with the decoder's width scaled, to a multiple of 8.

    A student learns from its teacher's maps instead of from heads or an average of its own, and
    from the first epoch on with all of its layers, which the teacher's knowledge has to reach.
    """
    scaled = teacher.decoder_width * student.decoder_width_factor
    width = max(16, round(scaled / _WIDTH_STEP) * _WIDTH_STEP)
    return replace(
        teacher,
        decoder_width=width,
        deep_supervision=0.0,
        freeze_epochs=0,
        ema_distillation=0.0,
    )


def distilled(lesson: Lesson) -> FinishedNetwork:
    """Train the student, or go on from its checkpoint."""
    teacher, student, dataset = lesson.teacher, lesson.student, lesson.context.dataset()
    params = student_parameters(teacher.params, student)
    model = build_network(params, dataset.info, seed=lesson.config.seed)
    inherited = inherit_weights(model, teacher.model.state_dict())
    teaching = teaching_together(
        [(one.model, one.normalisation) for one in (teacher, *lesson.peers)],
        teacher.normalisation,
        lesson.compress.temperature,
    )

    place = lesson.context.folder.trial(lesson.name)

    def tune(narrowed: SegmentationNet, epochs: int, checkpoints: Path) -> None:
        loss = teaching_loss(
            narrowed,
            teaching,
            settings=distillation_settings(lesson.compress),
            params=params,
            dataset=dataset,
            seed=lesson.config.seed,
        )
        settings = _settings(lesson, params, epochs)
        if settings.views > 0:
            loss.recall(recorded(_recording(lesson, teaching, settings)))
        # The loss reads the decoder's features, which is no call of the network: nothing to
        # compile.
        settings = with_fastest(
            settings,
            without_compiling(wanted_of(lesson.context.experiment.train)),
            checkpoints.parent,
            trained=(narrowed, loss),
            dataset=dataset,
        )
        fit(
            narrowed,
            dataset,
            settings,
            step_loss=loss,
            reporter=KeepGoing(lambda: lesson.context.keep(place)),
            checkpoint_folder=checkpoints,
        )

    model = narrow_and_tune(
        model,
        Narrowing(
            ratio=student.pruning_ratio,
            how=student,
            dataset=dataset,
            params=params,
            normalisation=teacher.normalisation,
        ),
        tune,
        epochs=lesson.compress.epochs_of(student),
        folder=place,
    )
    lineage = Lineage(
        trial_id=lesson.config.trial_id,
        kind="student",
        precision="fp32",
        recipe=_recipe(lesson, inherited),
        teacher=f"{teacher.name}-fp32",
    )
    return replace(teacher, name=lesson.name, model=model, params=params, lineage=lineage)


def teaching_loss(
    student: nn.Module,
    teacher: nn.Module,
    *,
    settings: DistillationSettings,
    params: TrialParameters,
    dataset: Dataset,
    seed: int,
) -> DistillationLoss:
    """What a student of this shape minimises beside this teacher."""
    size = dataset.info.size
    matching = None
    if settings.feature_weight > 0:
        matching = FeatureMatching(
            stage_shapes(student, size), stage_shapes(teacher, size), seed=seed
        )
    loss = DistillationLoss(
        teacher,
        task_loss=combined_loss(params, dataset.info),
        channels=(feature_channels(student), feature_channels(teacher)),
        settings=settings,
        seed=seed,
        matching=matching,
    )
    loss.weigh(class_weights(params, dataset.info))
    return loss


def distillation_settings(compress: CompressSettings) -> DistillationSettings:
    """The weights and temperatures that are declared."""
    return DistillationSettings(
        temperature=compress.temperature,
        logit_weight=compress.logit_weight,
        channel_weight=compress.channel_weight,
        feature_weight=compress.feature_weight,
    )


def _settings(lesson: Lesson, params: TrialParameters, epochs: int) -> FitSettings:
    """Trained as its teacher was, but for the epochs and the learning rate."""
    experiment = lesson.context.experiment
    settings = fit_settings(
        params,
        experiment.train,
        normalisation=lesson.teacher.normalisation,
        seed=lesson.config.seed,
        epochs=epochs,
        learning_rate=experiment.compress.learning_rate,
    )
    policy = experiment.policy(lesson.config.params)
    return replace(
        settings,
        augmentation=settings.augmentation if policy is None else policy,
        views=views_for(experiment.compress, params),
    )


def _recording(lesson: Lesson, teaching: nn.Module, settings: FitSettings) -> Recording:
    return Recording(
        place=lesson.context.folder.teaching,
        teacher=teaching,
        dataset=lesson.context.dataset(),
        settings=settings,
        compress=lesson.compress,
    )


def _cache_verdict(lesson: Lesson) -> str:
    params = student_parameters(lesson.teacher.params, lesson.student)
    views = views_for(lesson.compress, params)
    if views == 0:
        return f"not used: the trial mixes images ({', '.join(mixes_of(params))})"
    return f"{views} view{'s' if views > 1 else ''}"


def _recipe(lesson: Lesson, inherited: int) -> dict[str, Scalar]:
    compress, student = lesson.compress, lesson.student
    recipe: dict[str, Scalar] = {
        "epochs": compress.epochs_of(student),
        "decoder_width_factor": student.decoder_width_factor,
        "student_pruning_ratio": student.pruning_ratio,
        "inherited_tensors": inherited,
        "temperature": compress.temperature,
        "logit_weight": compress.logit_weight,
        "channel_weight": compress.channel_weight,
    }
    if compress.feature_weight > 0:
        recipe["feature_weight"] = compress.feature_weight
    if compress.teacher_cache is not None:
        recipe[TEACHER_CACHE] = _cache_verdict(lesson)
    if lesson.peers:
        recipe["teachers"] = ", ".join(one.name for one in (lesson.teacher, *lesson.peers))
    how = {name: getattr(student, name) for name in PruningSettings.model_fields}
    if how != PruningSettings().model_dump():
        recipe |= {f"pruning_{name}": value for name, value in how.items()}
    return recipe
