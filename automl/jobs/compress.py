"""One compression job: a trained trial exported, or a student of it distilled and exported.

Every float artifact is followed by its INT8 ladder, which ends in an INT8 candidate or in a reason
why there is none. A job writes `candidates/<id>/` with `core.onnx` (the bare network), `model.onnx`
(what ships) and, last, `candidate.json`; a job that is run again makes only what is missing.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass, replace

import torch

from automl.compression.distill import DistillationLoss, DistillationSettings, feature_channels
from automl.compression.prune import prune
from automl.errors import TrialError
from automl.jobs.candidates import ARTIFACT, RECORD, TrainedNetwork, candidate_record
from automl.jobs.context import JobContext, torch_threads
from automl.jobs.costs import export_wrapped, size_measurements
from automl.jobs.inheritance import inherit_weights
from automl.jobs.int8_candidate import int8_id, ladder_of, write_int8_candidate
from automl.jobs.int8_tuning import NeverStop
from automl.jobs.network import build_network, example_image, restore_network
from automl.jobs.settings import combined_loss, fit_settings
from automl.models.build import normalisation_for
from automl.records import Lineage, Normalisation, Scalar, TrialConfig, to_json
from automl.space.compression import CompressSettings, Student
from automl.space.parameters import TrialParameters, parameters_from
from automl.space.policies.searched import policy_parameters
from automl.store.atomic import staged_folder, write_json, write_text
from automl.store.room import is_disk_full, no_room
from automl.training.checkpoint import load_checkpoint
from automl.training.loop import fit
from automl.training.settings import FitSettings

_WIDTH_STEP = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressJob:
    """A trained trial to export, or its student number `student` to distil and export."""

    context: JobContext
    config: TrialConfig
    student: int | None = None

    @property
    def name(self) -> str:
        """What the job's candidates are called, before their precision."""
        suffix = "" if self.student is None else f"-student{self.student + 1}"
        return f"trial{self.config.number}{suffix}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressOutcome:
    """The candidates that a job made, and a line about it; none where it failed."""

    candidate_ids: tuple[str, ...]
    summary: str


def compress_candidate(job: CompressJob) -> CompressOutcome:
    """Make the candidates of one job; a fault is told in the outcome, and costs only this job.

    Raises StudyError where the disk is full.
    """
    folder = job.context.folder
    if _is_done(job):
        return CompressOutcome(candidate_ids=_made(job), summary="done before")
    try:
        with torch_threads(job.context.threads):
            network = _trained(job) if job.student is None else _distilled(job)
            _write_candidates(job, network)
    except Exception as error:
        if is_disk_full(error):
            raise no_room(f"{folder.candidates}, or a scratch file") from error
        log = folder.trial(job.name) / "error.txt"
        write_text(log, traceback.format_exc())
        made = _made(job)
        kept = f"; kept {', '.join(made)}" if made else ""
        return CompressOutcome(
            candidate_ids=made, summary=f"failed: {type(error).__name__}: {error} (see {log}){kept}"
        )
    ladder = ladder_of(folder, job.name)
    verdict = "" if ladder is None else f"; {ladder.reason}"
    made = _made(job)
    return CompressOutcome(candidate_ids=made, summary=f"exported {', '.join(made)}{verdict}")


def student_parameters(teacher: TrialParameters, student: Student) -> TrialParameters:
    """The teacher's parameters with the decoder's width scaled, to a multiple of 8."""
    scaled = teacher.decoder_width * student.decoder_width_factor
    width = max(16, round(scaled / _WIDTH_STEP) * _WIDTH_STEP)
    return replace(teacher, decoder_width=width)


def _float_id(job: CompressJob) -> str:
    return f"{job.name}-fp32"


def _is_done(job: CompressJob) -> bool:
    float_file = job.context.folder.candidate(_float_id(job)) / RECORD
    with_int8 = job.context.experiment.compress.int8 is not None
    return float_file.exists() and not (
        with_int8 and ladder_of(job.context.folder, job.name) is None
    )


def _made(job: CompressJob) -> tuple[str, ...]:
    """The candidates of the job that are on disk."""
    wanted = [_float_id(job)]
    if job.context.experiment.compress.int8 is not None:
        wanted.append(int8_id(job.name))
    folder = job.context.folder
    return tuple(name for name in wanted if (folder.candidate(name) / RECORD).exists())


def _trained(job: CompressJob) -> TrainedNetwork:
    """The network of a trial, from its checkpoint."""
    params = parameters_from(job.config.params)
    info = job.context.dataset().info
    folder = job.context.folder.trial(job.config.trial_id) / "checkpoint"
    checkpoint = load_checkpoint(folder, torch.device("cpu"))
    if checkpoint is None:
        raise TrialError(f"{folder}: no whole checkpoint is left")
    return TrainedNetwork(
        name=job.name,
        model=restore_network(params, info, checkpoint.model_state),
        params=params,
        normalisation=normalisation_for(params.model_spec(), info.normalisation),
        policy_params=policy_parameters(job.config.params),
        lineage=Lineage(
            trial_id=job.config.trial_id,
            kind="trial",
            precision="fp32",
            recipe={"epochs": checkpoint.epoch, "pruning_ratio": params.pruning_ratio},
        ),
    )


def _distilled(job: CompressJob) -> TrainedNetwork:
    """A student of a trial: it inherits what fits, is pruned, and learns from its teacher."""
    teacher = _trained(replace(job, student=None))
    compress = job.context.experiment.compress
    assert job.student is not None
    student = compress.students[job.student]
    dataset = job.context.dataset()
    params = student_parameters(teacher.params, student)
    model = build_network(params, dataset.info, seed=job.config.seed)
    inherited = inherit_weights(model, teacher.model.state_dict())
    model = prune(model, example_image(dataset.info.size), student.pruning_ratio)
    fit(
        model,
        dataset,
        _student_settings(job, params, teacher.normalisation),
        step_loss=DistillationLoss(
            teacher.model,
            task_loss=combined_loss(params, dataset.info),
            student_channels=feature_channels(model),
            teacher_channels=feature_channels(teacher.model),
            settings=_distillation(compress),
            seed=job.config.seed,
        ),
        reporter=NeverStop(),
        checkpoint_folder=job.context.folder.trial(job.name) / "checkpoint",
    )
    recipe: dict[str, Scalar] = {
        "epochs": compress.epochs,
        "decoder_width_factor": student.decoder_width_factor,
        "student_pruning_ratio": student.pruning_ratio,
        "inherited_tensors": inherited,
        "temperature": compress.temperature,
        "logit_weight": compress.logit_weight,
        "channel_weight": compress.channel_weight,
    }
    lineage = Lineage(
        trial_id=job.config.trial_id,
        kind="student",
        precision="fp32",
        recipe=recipe,
        teacher=f"{replace(job, student=None).name}-fp32",
    )
    return replace(teacher, name=job.name, model=model, params=params, lineage=lineage)


def _student_settings(
    job: CompressJob, params: TrialParameters, normalisation: Normalisation
) -> FitSettings:
    """Trained as its teacher was, but for the epochs and the learning rate."""
    experiment = job.context.experiment
    settings = fit_settings(
        params,
        experiment.train,
        normalisation=normalisation,
        seed=job.config.seed,
        epochs=experiment.compress.epochs,
        learning_rate=experiment.compress.learning_rate,
    )
    policy = experiment.policy(job.config.params)
    return settings if policy is None else replace(settings, augmentation=policy)


def _distillation(compress: CompressSettings) -> DistillationSettings:
    return DistillationSettings(
        temperature=compress.temperature,
        logit_weight=compress.logit_weight,
        channel_weight=compress.channel_weight,
    )


def _write_candidates(job: CompressJob, network: TrainedNetwork) -> None:
    """Export the network, then climb the INT8 ladder of that export; candidates appear whole."""
    context, float_id = job.context, _float_id(job)
    folder, info = context.folder.candidate(float_id), context.dataset().info
    if not (folder / RECORD).exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with staged_folder(folder) as staged:
            artifact = staged / ARTIFACT
            export_wrapped(network.model, artifact, info, network.normalisation)
            sizes = size_measurements(network.model, artifact, info)
            write_json(staged / RECORD, to_json(candidate_record(network, float_id, sizes)))
    if context.experiment.compress.int8 is not None:
        write_int8_candidate(context, network, float_id, seed=job.config.seed)
