"""One compression job: a trained trial exported, or a student of it distilled and exported.

Every float artifact is followed by its INT8 twin. A job writes `candidates/<id>/` with
`core.onnx` (the bare network), `model.onnx` (what ships) and, last, `candidate.json`; a job that
is run again makes only what is missing.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from automl.compression.distill import DistillationLoss, DistillationSettings, feature_channels
from automl.compression.prune import prune
from automl.compression.quantize import quantize_int8
from automl.data.dataset import Dataset
from automl.errors import TrialError
from automl.jobs.context import JobContext, torch_threads
from automl.jobs.costs import export_wrapped, size_measurements, wrap_core
from automl.jobs.inheritance import inherit_weights
from automl.jobs.network import build_network, example_image, restore_network
from automl.jobs.settings import combined_loss, fit_settings
from automl.models.build import SegmentationNet, normalisation_for
from automl.records import (
    Candidate,
    Lineage,
    Measurement,
    Normalisation,
    Scalar,
    TrialConfig,
    Verdict,
    to_json,
)
from automl.space.compression import CompressSettings, Student
from automl.space.parameters import TrialParameters, parameters_from
from automl.store.atomic import staged_folder, write_json, write_text
from automl.store.room import is_disk_full, no_room
from automl.training.checkpoint import load_checkpoint
from automl.training.evaluation import normalise
from automl.training.loop import fit

_WIDTH_STEP = 8
_RECORD = "candidate.json"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network:
    """A trained network with all that its candidates' records say of it."""

    name: str
    model: SegmentationNet
    params: TrialParameters
    normalisation: Normalisation
    lineage: Lineage


def compress_candidate(job: CompressJob) -> CompressOutcome:
    """Make the candidates of one job; a fault is told in the outcome, and costs only this job.

    Raises StudyError where the disk is full.
    """
    folder = job.context.folder
    wanted = _candidate_ids(job)
    if all((folder.candidate(name) / _RECORD).exists() for name in wanted):
        return CompressOutcome(candidate_ids=wanted, summary="done before")
    try:
        with torch_threads(job.context.threads):
            network = _trained(job) if job.student is None else _distilled(job)
            _write_candidates(job, network)
    except Exception as error:
        if is_disk_full(error):
            raise no_room(f"{folder.candidates}, or a scratch file") from error
        log = folder.trial(job.name) / "error.txt"
        write_text(log, traceback.format_exc())
        made = tuple(name for name in wanted if (folder.candidate(name) / _RECORD).exists())
        kept = f"; kept {', '.join(made)}" if made else ""
        return CompressOutcome(
            candidate_ids=made, summary=f"failed: {type(error).__name__}: {error} (see {log}){kept}"
        )
    return CompressOutcome(candidate_ids=wanted, summary=f"exported {', '.join(wanted)}")


def student_parameters(teacher: TrialParameters, student: Student) -> TrialParameters:
    """The teacher's parameters with the decoder's width scaled, to a multiple of 8.

    A student learns from its teacher's maps instead of from heads of its own, and from the first
    epoch on with all of its layers, which the teacher's knowledge has to reach.
    """
    scaled = teacher.decoder_width * student.decoder_width_factor
    width = max(16, round(scaled / _WIDTH_STEP) * _WIDTH_STEP)
    return replace(teacher, decoder_width=width, deep_supervision=0.0, freeze_epochs=0)


def _candidate_ids(job: CompressJob) -> tuple[str, ...]:
    precisions = ("fp32", "int8") if job.context.experiment.compress.int8 else ("fp32",)
    return tuple(f"{job.name}-{precision}" for precision in precisions)


def _trained(job: CompressJob) -> _Network:
    """The network of a trial, from its checkpoint."""
    params = parameters_from(job.config.params)
    info = job.context.dataset().info
    folder = job.context.folder.trial(job.config.trial_id) / "checkpoint"
    checkpoint = load_checkpoint(folder, torch.device("cpu"))
    if checkpoint is None:
        raise TrialError(f"{folder}: no whole checkpoint is left")
    return _Network(
        name=job.name,
        model=restore_network(params, info, checkpoint.model_state),
        params=params,
        normalisation=normalisation_for(params.model_spec(), info.normalisation),
        lineage=Lineage(
            trial_id=job.config.trial_id,
            kind="trial",
            precision="fp32",
            recipe={"epochs": checkpoint.epoch, "pruning_ratio": params.pruning_ratio},
        ),
    )


def _distilled(job: CompressJob) -> _Network:
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
        fit_settings(
            params,
            job.context.experiment.train.model_copy(update={"early_stop": None}),
            normalisation=teacher.normalisation,
            seed=job.config.seed,
            epochs=compress.epochs,
            learning_rate=compress.learning_rate,
        ),
        step_loss=DistillationLoss(
            teacher.model,
            task_loss=combined_loss(params, dataset.info),
            student_channels=feature_channels(model),
            teacher_channels=feature_channels(teacher.model),
            settings=_distillation(compress),
            seed=job.config.seed,
        ),
        reporter=_NeverStop(),
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


def _distillation(compress: CompressSettings) -> DistillationSettings:
    return DistillationSettings(
        temperature=compress.temperature,
        logit_weight=compress.logit_weight,
        channel_weight=compress.channel_weight,
    )


def _write_candidates(job: CompressJob, network: _Network) -> None:
    """Export the network, then quantize that export; each candidate appears whole."""
    context = job.context
    dataset = context.dataset()
    float_id, *int8_ids = _candidate_ids(job)
    float_folder = context.folder.candidate(float_id)
    float_folder.parent.mkdir(parents=True, exist_ok=True)
    with staged_folder(float_folder) as staged:
        artifact = staged / "model.onnx"
        export_wrapped(network.model, artifact, dataset.info, network.normalisation)
        sizes = size_measurements(network.model, artifact, dataset.info)
        write_json(staged / _RECORD, to_json(_record(network, float_id, sizes)))
    for int8_id in int8_ids:
        with staged_folder(context.folder.candidate(int8_id)) as staged:
            quantize_int8(
                float_folder / "core.onnx",
                staged / "core.onnx",
                _calibration(dataset, network.normalisation, context.experiment.compress),
            )
            artifact = staged / "model.onnx"
            wrap_core(artifact, dataset.info, network.normalisation)
            sizes = size_measurements(network.model, artifact, dataset.info)
            lineage = replace(network.lineage, precision="int8")
            int8 = replace(network, lineage=lineage)
            write_json(staged / _RECORD, to_json(_record(int8, int8_id, sizes)))


def _record(network: _Network, candidate_id: str, sizes: tuple[Measurement, ...]) -> Candidate:
    return Candidate(
        candidate_id=candidate_id,
        artifact=f"candidates/{candidate_id}/model.onnx",
        lineage=network.lineage,
        params={
            name: getattr(network.params, name) for name in network.params.__dataclass_fields__
        },
        normalisation=network.normalisation,
        measurements=sizes,
    )


def _calibration(
    dataset: Dataset, normalisation: Normalisation, compress: CompressSettings
) -> Iterator[NDArray[np.float32]]:
    """Training images, evenly spread, as the bare network takes them: float32 (1, 3, H, W)."""
    split = dataset.split("train")
    count = min(compress.calibration_images, len(split))
    for row in np.linspace(0, len(split) - 1, count).round().astype(int):
        image_nhwc = torch.from_numpy(np.array(split.image(int(row)))[None])
        yield normalise(image_nhwc, normalisation).contiguous().numpy()


class _NeverStop:
    """Lets a distillation run to its end."""

    def report(self, epoch: int, metrics: Mapping[str, float]) -> Verdict:
        """Always go on."""
        return Verdict.CONTINUE
