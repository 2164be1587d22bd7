"""What a study's folder holds of one trial: its sample, its epochs, and where it trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from automl.conductor.trial_state import TrialState
from automl.errors import StudyError, UsageError
from automl.records import (
    SpeedChoice,
    TrialConfig,
    TrialMessage,
    TrialResult,
    TrialStatus,
    from_json,
)
from automl.space.experiment import Experiment
from automl.space.limits import nearest
from automl.store.declaration import read_declaration
from automl.store.environment import Environment, EnvironmentFile, read_environments
from automl.store.journal import read_journal
from automl.store.layout import StudyFolder
from automl.store.tables import read_trials


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """One trial; `status` is None where it has not ended.

    `scores` maps an epoch to its metrics on val: every epoch where the study has its journal, the
    last one where only its table is left. `environments` are those in which it trained, if known.
    `speed` is how it trained, where that was measured.
    """

    config: TrialConfig
    status: TrialStatus | None
    reason: str | None
    epochs: int
    scores: Mapping[int, Mapping[str, float]]
    environments: tuple[Environment, ...]
    speed: SpeedChoice | None = None


def trial_record(folder: StudyFolder, named: str) -> TrialRecord:
    """The trial with a number or an id, such as `4` or `0004-e112a1cf`, as the study recorded it.

    Raises:
        UsageError: there is no such trial (the nearest one is named), or the record is damaged.
    """
    try:
        environments = read_environments(folder.environment_file)
        events = read_journal(folder.journal_file)
        found = _from_journal(events, environments) if events else _from_table(folder, environments)
    except StudyError as error:
        raise UsageError(str(error)) from error
    if not found:
        raise UsageError(f"{folder.root}: holds no trials: its search has not begun")
    ids = {str(record.config.number): trial_id for trial_id, record in found.items()}
    trial_id = ids.get(str(int(named)), named) if named.isdecimal() else named
    record = found.get(trial_id)
    if record is None:
        raise UsageError(_unknown(folder, named, ids))
    if record.config.trial_id != trial_id:
        raise UsageError(
            f"{folder.trials_table}: the parameters of trial {trial_id} cannot be told from the "
            "table alone: the study's journal.jsonl is needed"
        )
    return record


def best_trial(folder: StudyFolder) -> str:
    """The id of the completed trial with the best accuracy; UsageError where none has completed."""
    declared = read_declaration(folder.experiment_file)
    objective = Experiment.from_json(declared.experiment).objectives[0]
    try:
        results = read_trials(folder).values()
    except StudyError as error:
        raise UsageError(str(error)) from error
    scored = [
        (objective.loss(value), result.config.number, result.config.trial_id)
        for result in results
        if result.status == TrialStatus.COMPLETED
        and (value := result.value(objective.metric)) is not None
    ]
    if not scored:
        raise UsageError(f"{folder.root}: no trial has completed, so none is best")
    return min(scored)[2]


def _from_journal(
    events: Sequence[Mapping[str, Any]], environments: EnvironmentFile
) -> dict[str, TrialRecord]:
    states: dict[str, TrialState] = {}
    places: dict[str, dict[str, Environment]] = {}
    speeds: dict[str, SpeedChoice] = {}
    for index, event in enumerate(events):
        if event["kind"] == "proposed":
            config = from_json(TrialConfig, event["config"])
            states[config.trial_id] = TrialState(config)
        elif event["kind"] == "message":
            message = from_json(TrialMessage, event["message"])
            states[event["trial_id"]].apply(message)
            if message.speed is not None:
                speeds[event["trial_id"]] = message.speed
            environment = environments.at(index)
            if message.kind == "epoch" and environment is not None:
                places.setdefault(event["trial_id"], {})[repr(environment)] = environment
    return {
        trial_id: TrialRecord(
            config=state.config,
            status=state.status,
            reason=state.reason,
            epochs=state.last_epoch,
            scores=state.epochs,
            environments=tuple(places.get(trial_id, {}).values()),
            speed=speeds.get(trial_id),
        )
        for trial_id, state in states.items()
    }


def _from_table(folder: StudyFolder, environments: EnvironmentFile) -> dict[str, TrialRecord]:
    places = tuple(entry.environment for entry in environments.environments)
    return {
        trial_id: TrialRecord(
            config=result.config,
            status=result.status,
            reason=result.reason,
            epochs=result.epochs,
            scores={result.epochs: _quality(result)} if result.epochs else {},
            environments=places,
        )
        for trial_id, result in read_trials(folder).items()
    }


def _quality(result: TrialResult) -> dict[str, float]:
    return {m.metric: m.value for m in result.measurements if m.split == "val"}


def _unknown(folder: StudyFolder, named: str, ids: Mapping[str, str]) -> str:
    numbers = sorted(map(int, ids))
    if named.isdecimal():
        meant: str | None = str(min(numbers, key=lambda number: abs(number - int(named))))
    else:
        meant = nearest(named, ids.values())
    hint = "" if meant is None else f"; the nearest is {meant}"
    return (
        f"{folder.root}: holds no trial {named}; allowed: a number from {numbers[0]} to "
        f"{numbers[-1]}, or an id such as {ids[str(numbers[0])]}{hint}"
    )
