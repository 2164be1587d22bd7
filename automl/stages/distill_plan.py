"""What is asked of `automl distill`, checked before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from automl.bundle.runtimes import DEFAULT, check_runtime
from automl.compression.distill import DistillationSettings
from automl.compression.ensemble import teaching_together
from automl.data.dataset import Dataset
from automl.errors import SpaceError, UsageError
from automl.models.build import check_spec, normalisation_for
from automl.records import Normalisation, Scalar, to_json
from automl.space.experiment import Experiment
from automl.space.parameters import TrialParameters, parameters_from
from automl.stages.bench_meter import told_apart
from automl.stages.claim import claim
from automl.stages.source import Source, data_for, read_source


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillRequest:
    """What the user asks for.

    The student is the default of `space`, else what the first teacher is, with `params` over it; it
    trains for `epochs`, by `seeds` seeds from 0 on. Its file is timed in `runtime`; `timed_on` is
    the processor of the agent that times, None where this machine does.
    """

    teachers: tuple[Path, ...]
    space: Experiment | None
    params: Mapping[str, Scalar]
    data: str | None
    out: Path
    epochs: int
    seeds: int
    settings: DistillationSettings
    threads: int
    rounds: int
    runtime: str = DEFAULT
    timed_on: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillPlan:
    """A checked request; `teacher` takes images that are normalised for the student."""

    request: DistillRequest
    sources: tuple[Source, ...]
    teacher: nn.Module
    sample: Mapping[str, Scalar]
    experiment: Experiment
    normalisation: Normalisation
    dataset: Dataset

    @property
    def params(self) -> TrialParameters:
        """The student's parameters; it learns from maps of its teacher, not from heads."""
        return replace(parameters_from(self.sample), deep_supervision=0.0, freeze_epochs=0)


def plan_distillation(request: DistillRequest) -> DistillPlan:
    """Read the teachers and the data, and check all that can be checked before any work.

    Raises:
        UsageError: something of the request cannot be had, or `out` holds something else.
    """
    check_runtime(request.runtime)
    if not request.teachers:
        raise UsageError("--teacher: none given; allowed: one or more, such as results/camvid/4")
    sources = tuple(read_source(path) for path in request.teachers)
    first = sources[0]
    _check_alike(sources)
    dataset = data_for(first, request.data)
    experiment = first.experiment if request.space is None else request.space
    base = first.sample if request.space is None else experiment.space.default()
    sample = {**base, **request.params}
    params = parameters_from(sample)
    faults = check_spec(params.model_spec(), dataset.info.size)
    if faults:
        raise SpaceError("the student: " + "\n".join(map(str, faults)))
    normalisation = normalisation_for(params.model_spec(), dataset.info.normalisation)
    claim(
        request.out,
        _asked(request, sample, dataset),
        source=first.path,
        what="distillations",
    )
    return DistillPlan(
        request=request,
        sources=sources,
        teacher=teaching_together(
            [(source.model, source.normalisation) for source in sources],
            normalisation,
            request.settings.temperature,
        ),
        sample=sample,
        experiment=experiment,
        normalisation=normalisation,
        dataset=dataset,
    )


def _check_alike(sources: Sequence[Source]) -> None:
    first = sources[0]
    for source in sources[1:]:
        for what in ("classes", "size", "resize"):
            if getattr(source, what) != getattr(first, what):
                raise UsageError(
                    f"--teacher {source.path}: its {what} {getattr(source, what)} are not those of "
                    f"{first.path}, {getattr(first, what)}: they cannot teach together"
                )


def _asked(
    request: DistillRequest, sample: Mapping[str, Scalar], dataset: Dataset
) -> dict[str, object]:
    """All but the number of seeds: more may be asked for later."""
    return {
        **told_apart(request.runtime, request.timed_on),
        "teachers": [str(path.resolve()) for path in request.teachers],
        "student": dict(sample),
        "data": dataset.info.fingerprint,
        "epochs": request.epochs,
        "settings": to_json(request.settings),
        "threads": request.threads,
        "rounds": request.rounds,
    }
