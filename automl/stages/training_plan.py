"""What a single training trains: from a space, a trial of a study, or trained weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from automl.errors import SpaceError, UsageError
from automl.jobs.trained import TrainedNetwork
from automl.records import Scalar
from automl.space.experiment import Experiment
from automl.space.fixed import single_trial
from automl.space.parameter_table import PARAMETERS
from automl.stages.preflight import model_faults
from automl.stages.reproduce import recorded_experiment
from automl.stages.starting_point import starting_point, study_and_trial
from automl.stages.trial_record import trial_record
from automl.store.layout import StudyFolder

#: What trained weights decide.
_ARCHITECTURE = ("encoder", "decoder", "decoder_width", "pretrained", "pruning_ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest:
    """What the user asks for; None leaves what is declared or recorded.

    Exactly one of `space`, `trial` (STUDY/TRIAL) and `continue_from` says what to train.
    """

    space: Experiment | None = None
    trial: Path | None = None
    continue_from: Path | None = None
    params: Mapping[str, Scalar] = field(default_factory=dict)
    data: str | None = None
    epochs: int | None = None
    seed: int | None = None
    workers: int | None = None
    old_data: str | None = None
    ewc_lambda: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The trained weights to go on from, the data that must not be forgotten, and how it holds.

    `old_source` is where the old data is said to lie; `must_match` that it was not given by the
    user, so that it has to be what the weights were trained on.
    """

    network: TrainedNetwork
    state: Mapping[str, Tensor]
    old_source: str
    must_match: bool
    ewc_lambda: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """A checked request: an experiment of one trial, where it comes from, and its weights."""

    experiment: Experiment
    origin: str
    start: Start | None = None


def plan_training(request: TrainingRequest) -> TrainingPlan:
    """Read what is named and check all that can be checked before any training.

    Raises:
        UsageError: nothing or too much is named, or it cannot be trained.
    """
    named = (request.space, request.trial, request.continue_from)
    if sum(value is not None for value in named) != 1:
        raise UsageError(
            "give one of --space, --trial and --continue-from: they exclude each other"
        )
    if request.continue_from is None and (request.old_data is not None or request.ewc_lambda > 0):
        raise UsageError("--old-data and --ewc-lambda go with --continue-from")
    if request.space is not None:
        plan = _of_space(request, request.space)
    elif request.trial is not None:
        plan = _of_trial(request, request.trial)
    else:
        assert request.continue_from is not None
        plan = _of_weights(request, request.continue_from)
    faults = model_faults(plan.experiment, frozenset())
    if faults:
        raise SpaceError("\n".join(map(str, faults)))
    return plan


def _of_space(request: TrainingRequest, space: Experiment) -> TrainingPlan:
    params = {**space.space.default(), **request.params}
    experiment = _single(request, space, params, space.search.seed)
    return TrainingPlan(experiment=experiment, origin=_origin(request))


def _origin(request: TrainingRequest) -> str:
    given = f" with {', '.join(request.params)} as given" if request.params else ""
    return f"the default of the space{given}"


def _of_trial(request: TrainingRequest, given: Path) -> TrainingPlan:
    root, named = study_and_trial(given)
    record = trial_record(StudyFolder(root), named)
    params = {**record.config.params, **request.params}
    experiment = _single(request, recorded_experiment(root), params, record.config.seed)
    return TrainingPlan(experiment=experiment, origin=f"trial {record.config.number} of {root}")


def _of_weights(request: TrainingRequest, given: Path) -> TrainingPlan:
    fixed = [name for name in _ARCHITECTURE if name in request.params]
    if fixed:
        raise UsageError(
            f"--params: {', '.join(fixed)}: the trained weights decide that; allowed with "
            f"--continue-from: {', '.join(n for n in PARAMETERS if n not in _ARCHITECTURE)}"
        )
    network, state = starting_point(given)
    before = Experiment.from_json(network.experiment)
    # The weights are in hand: where their encoder's came from no longer matters.
    params = {**network.params, **request.params, "pretrained": False}
    start = Start(
        network=network,
        state=state,
        old_source=before.data.source if request.old_data is None else request.old_data,
        must_match=request.old_data is None,
        ewc_lambda=request.ewc_lambda,
    )
    experiment = _single(request, before, params, before.search.seed)
    return TrainingPlan(experiment=experiment, origin=f"the weights of {given}", start=start)


def _single(
    request: TrainingRequest, experiment: Experiment, params: Mapping[str, Scalar], seed: int
) -> Experiment:
    return single_trial(
        experiment,
        params,
        seed=seed if request.seed is None else request.seed,
        epochs=request.epochs,
        workers=request.workers,
        data=request.data,
    )
