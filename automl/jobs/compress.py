"""One compression job: a trained trial exported, or a student of it distilled and exported.

Every float artifact is followed by its INT8 ladder, which ends in an INT8 candidate or in a reason
why there is none. A job writes `candidates/<id>/` with `core.onnx` (the bare network), `model.onnx`
(what ships) and, last, `candidate.json`; a job that is run again makes only what is missing.
"""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from automl.compression.pace import Pace
from automl.errors import StudyError, TrialError
from automl.jobs.beginning import beginning_of
from automl.jobs.candidates import ARTIFACT, RECORD, FinishedNetwork, candidate_record
from automl.jobs.context import JobContext, torch_threads
from automl.jobs.costs import export_wrapped, size_measurements
from automl.jobs.int8_candidate import (
    int8_id,
    ladder_id,
    ladder_of,
    tuning_id,
    write_int8_candidate,
)
from automl.jobs.network import restore_network
from automl.jobs.pruning_gate import PRUNING_VERDICT, pace_of_student
from automl.jobs.students import TEACHER_CACHE, Lesson, distilled
from automl.records import Candidate, Lineage, TrialConfig, from_json, to_json
from automl.space.parameters import parameters_from
from automl.space.policies.searched import policy_parameters
from automl.store.atomic import staged_folder, write_json, write_text
from automl.store.room import is_disk_full, no_room
from automl.training.checkpoint import load_checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressJob:
    """A trained trial to export, or its student number `student` to distil and export.

    `peers` are other trials that teach the student beside its own; they stay as they are where a
    recipe is repeated with another seed.
    """

    context: JobContext
    config: TrialConfig
    student: int | None = None
    peers: tuple[CompressJob, ...] = ()

    @property
    def name(self) -> str:
        """What the job's candidates are called, before their precision."""
        suffix = "" if self.student is None else f"-student{self.student + 1}"
        return f"trial{self.config.number}{suffix}"

    @property
    def made(self) -> tuple[Path, ...]:
        """What it writes; the folder that says that it is done comes last."""
        folder = self.context.folder
        candidates = (_float_id(self), int8_id(self.name), ladder_id(self.name))
        trainings = (self.name, tuning_id(self.name))
        return (*map(folder.trial, trainings), *map(folder.candidate, candidates))

    @property
    def needed(self) -> tuple[Path, ...]:
        """What it reads: what it made before, trained trials, the teacher's export."""
        folder = self.context.folder
        taught_by = [job.config.trial_id for job in (self, *self.peers)]
        teacher = folder.candidate(_float_id(replace(self, student=None)))
        trained = (folder.trial(name) / "checkpoint" for name in taught_by)
        return (*self.made, *trained, teacher, folder.beginning, folder.reference)

    def here(self) -> CompressJob:
        """The same job on this node."""
        context = self.context.here()
        peers = tuple(replace(peer, context=context) for peer in self.peers)
        return replace(self, context=context, peers=peers)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressOutcome:
    """The candidates that a job made, and a line about it; none where it failed."""

    candidate_ids: tuple[str, ...]
    summary: str


def compress_candidate(job: CompressJob) -> CompressOutcome:
    """Make the candidates of one job; a fault is told in the outcome, and costs only this job.

    Raises StudyError where the disk is full, or whatever else the other jobs would meet, too.
    """
    job = job.here()
    folder = job.context.folder
    job.context.bring(*job.needed)
    if _is_done(job):
        return CompressOutcome(candidate_ids=_made(job), summary="done before")
    try:
        with torch_threads(job.context.threads):
            network = _trained(job) if job.student is None else _distilled(job)
            _write_candidates(job, network)
        job.context.keep(*job.made)
    except StudyError:
        raise  # the study's fault, not this network's
    except Exception as error:
        if is_disk_full(error):
            raise no_room(f"{folder.candidates}, or a scratch file") from error
        log = folder.trial(job.name) / "error.txt"
        write_text(log, traceback.format_exc())
        job.context.keep(*job.made)
        made = _made(job)
        kept = f"; kept {', '.join(made)}" if made else ""
        return CompressOutcome(
            candidate_ids=made, summary=f"failed: {type(error).__name__}: {error} (see {log}){kept}"
        )
    made = _made(job)
    summary = "; ".join([f"exported {', '.join(made)}", *_verdicts(job)])
    return CompressOutcome(candidate_ids=made, summary=summary)


def _verdicts(job: CompressJob) -> list[str]:
    """What became of the teacher's cache, of pruning and of INT8."""
    file = job.context.folder.candidate(_float_id(job)) / RECORD
    recipe = _record(file).lineage.recipe
    ladder = ladder_of(job.context.folder, job.name)
    kinds = {"teacher cache": TEACHER_CACHE, "pruning": PRUNING_VERDICT}
    told = [f"{kind} {recipe[name]}" for kind, name in kinds.items() if name in recipe]
    return told if ladder is None else [*told, ladder.reason]


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


def _trained(job: CompressJob) -> FinishedNetwork:
    """The network of a trial, from its checkpoint."""
    params = parameters_from(job.config.params)
    info = job.context.dataset().info
    folder = job.context.folder.trial(job.config.trial_id) / "checkpoint"
    checkpoint = load_checkpoint(folder, torch.device("cpu"))
    if checkpoint is None:
        raise TrialError(f"{folder}: no whole checkpoint is left")
    beginning = beginning_of(job.context.folder)
    return FinishedNetwork(
        name=job.name,
        model=restore_network(params, info, checkpoint.model_state),
        params=params,
        normalisation=beginning.normalisation(params, info),
        policy_params=policy_parameters(job.config.params),
        lineage=Lineage(
            trial_id=job.config.trial_id,
            kind="trial",
            precision="fp32",
            recipe={
                "epochs": checkpoint.epoch,
                "pruning_ratio": params.pruning_ratio,
                **beginning.recipe,
            },
        ),
    )


def _distilled(job: CompressJob) -> FinishedNetwork:
    """A student of a trial."""
    assert job.student is not None
    teacher = _trained(replace(job, student=None))
    return distilled(
        Lesson(
            context=job.context,
            config=job.config,
            index=job.student,
            name=job.name,
            teacher=teacher,
            peers=tuple(_trained(peer) for peer in job.peers),
        )
    )


def _write_candidates(job: CompressJob, network: FinishedNetwork) -> None:
    """Export the network, then climb the INT8 ladder of that export; candidates appear whole."""
    context, float_id = job.context, _float_id(job)
    folder, info = context.folder.candidate(float_id), context.dataset().info
    if not (folder / RECORD).exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with staged_folder(folder) as staged:
            artifact = staged / ARTIFACT
            export_wrapped(network.model, artifact, info, network.normalisation)
            sizes = size_measurements(network.model, artifact, info)
            pace = _pace(job, artifact)
            record = candidate_record(
                network if pace is None else _with_pace(network, pace),
                float_id,
                sizes,
                for_size_alone=pace is not None and not pace.accepted,
            )
            write_json(staged / RECORD, to_json(record))
    if context.experiment.compress.int8 is not None:
        record = _record(folder / RECORD)
        network = replace(network, lineage=record.lineage)
        write_int8_candidate(context, network, float_id, seed=job.config.seed)


def _pace(job: CompressJob, artifact: Path) -> Pace | None:
    """Whether a student that was pruned is faster than its teacher."""
    compress = job.context.experiment.compress
    if job.student is None or compress.all_students[job.student].pruning_ratio == 0:
        return None
    of_teacher = replace(job, student=None)

    def export_teacher(file: Path) -> None:
        teacher = _trained(of_teacher)
        info = job.context.dataset().info
        export_wrapped(teacher.model, file, info, teacher.normalisation)

    return pace_of_student(job.context, artifact, _float_id(of_teacher), export_teacher)


def _with_pace(network: FinishedNetwork, pace: Pace) -> FinishedNetwork:
    recipe = {**network.lineage.recipe, PRUNING_VERDICT: pace.verdict}
    return replace(network, lineage=replace(network.lineage, recipe=recipe))


def _record(file: Path) -> Candidate:
    return from_json(Candidate, json.loads(file.read_text(encoding="utf-8")))
