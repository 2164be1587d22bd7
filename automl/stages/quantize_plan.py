"""What is asked of `automl quantize`, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from automl.bundle.runtimes import check_runtime
from automl.data.dataset import Dataset
from automl.data.importing import cached_for_network
from automl.data.letterbox import Frame
from automl.errors import UsageError
from automl.space.compression import Int8Settings
from automl.stages.bench_meter import told_apart
from automl.stages.claim import claim
from automl.stages.quantize_subject import Subject, find_subject

#: The rungs of each runtime, least costly first. Only OpenVINO gains by the layout of NNCF.
RUNGS = {
    "onnxruntime": ("per_tensor", "per_channel", "entropy", "percentile", "mixed", "qat"),
    "openvino": ("per_tensor", "per_channel", "nncf", "entropy", "percentile", "mixed", "qat"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeRequest:
    """What the user asks for; `data` None is the study's, `rungs` None all that the runtime has.

    `timed_on` is the processor of the agent that times, None where this machine does.
    """

    model: Path
    data: str | None
    out: Path
    runtime: str
    settings: Int8Settings
    rungs: tuple[str, ...] | None
    calibration_images: int
    threads: int
    rounds: int
    timed_on: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizePlan:
    """A checked request."""

    request: QuantizeRequest
    subject: Subject
    dataset: Dataset
    rungs: tuple[str, ...]
    notes: tuple[str, ...]


def plan_quantization(request: QuantizeRequest) -> QuantizePlan:
    """Read the model and the data, and check all that can be checked before any work.

    Raises:
        UsageError: something of the request cannot be had, or `out` holds something else.
    """
    check_runtime(request.runtime)
    rungs = _rungs(request)
    subject = find_subject(request.model)
    data = _data_for(request, subject)
    dataset = cached_for_network(
        data,
        Frame(subject.size, subject.resize),
        subject.classes,
        split_seed=subject.split_seed,
    )
    _claim(request, rungs, subject, dataset)
    return QuantizePlan(
        request=request,
        subject=subject,
        dataset=dataset,
        rungs=rungs,
        notes=_notes(rungs, subject, dataset),
    )


def _data_for(request: QuantizeRequest, subject: Subject) -> str:
    if request.data is not None:
        return request.data
    if subject.trainable is None:
        raise UsageError(
            f"--data: not given; {request.model} is a bundle, which does not know where its data "
            "lies. Allowed: the folder of a dataset with its classes"
        )
    return subject.trainable.experiment.data.source


def _rungs(request: QuantizeRequest) -> tuple[str, ...]:
    known = RUNGS[request.runtime]
    if request.rungs is None:
        return known
    strange = [name for name in request.rungs if name not in known]
    if strange or not request.rungs or len(set(request.rungs)) < len(request.rungs):
        raise UsageError(
            f"--rungs: given {','.join(request.rungs)}; allowed with {request.runtime}: one or "
            f"more of {', '.join(known)}, each once"
        )
    return request.rungs


def _claim(
    request: QuantizeRequest, rungs: tuple[str, ...], subject: Subject, dataset: Dataset
) -> None:
    """Take the folder `out`, new, empty or of the same request: rungs of another do not compare."""
    asked = {
        **told_apart(request.runtime, request.timed_on),
        "model": str(request.model.resolve()),
        "data": dataset.info.fingerprint,
        "runtime": request.runtime,
        "rungs": list(rungs),
        "settings": request.settings.resolved("onnxruntime").model_dump(mode="json"),
        "calibration_images": request.calibration_images,
        "threads": request.threads,
        "rounds": request.rounds,
    }
    claim(request.out, asked, source=subject.source, what="a ladder")


def _notes(rungs: tuple[str, ...], subject: Subject, dataset: Dataset) -> tuple[str, ...]:
    notes = []
    if dataset.info.fingerprint != subject.fingerprint:
        notes.append("not the data that the model was made on: all is measured on the data given")
    if "qat" in rungs and subject.trainable is None:
        notes.append(
            "qat: a bundle cannot be fine-tuned; give the trial's folder, STUDY/trials/ID, for that"
        )
    return tuple(notes)
