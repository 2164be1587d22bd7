"""Ray Tune's two seams, filled: a searcher that asks the conductor, a scheduler that obeys it."""

from __future__ import annotations

import json
import re
from collections import deque
from pathlib import Path
from typing import Any

from ray.tune import PlacementGroupFactory
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from automl.conductor.conductor import Conductor
from automl.distributed.fleet import Fleet
from automl.distributed.moving import MOVES_KEY, NODE_KEY
from automl.errors import AutomlError, StudyError
from automl.records import (
    TrialConfig,
    TrialMessage,
    TrialStatus,
    Verdict,
    from_json,
    to_json,
)

#: The key of a trial's sample in Tune's config, and of a message in Tune's result: as text, since
#: Tune flattens nested results.
CONFIG_KEY = "trial_config"
MESSAGE_KEY = "trial_message"
#: In place of a message: a fault of the study, met in a trial's process.
FAULT_KEY = "study_fault"

#: A line that begins as Python prints an exception.
_AN_ERROR = re.compile(r"[\w.]*(Error|Exception)\b.*: ")


class Door:
    """The conductor as Tune meets it: a fault of the study ends the search instead of Tune."""

    def __init__(self, conductor: Conductor) -> None:
        self._conductor = conductor
        self.fault: AutomlError | None = None
        #: What Tune's trials were lost to, by Tune's ids.
        self.losses: dict[str, str] = {}
        #: Tune's ids of trials that were lost where Tune gives up although it may start them again.
        self.given_up: set[str] = set()
        #: Tune's ids of trials that leave their node, and go on as new ones of Tune's.
        self.moving: set[str] = set()
        #: How often a trial, by our id, was lost under an earlier one of Tune's.
        self.lost_before: dict[str, int] = {}

    def next_trial(self) -> TrialConfig | None:
        """The next sample, or None at the end of the search."""
        try:
            return None if self.fault is not None else self._conductor.next_trial()
        except AutomlError as fault:
            self.fault = fault
            return None

    @property
    def is_over(self) -> bool:
        """Whether the search has ended, where there is no next trial."""
        return self.fault is not None or self._conductor.is_over

    def fail(self, reason: str) -> Verdict:
        """A trial's process met a fault of the study."""
        if self.fault is None:
            self.fault = StudyError(reason)
        return Verdict.STOP

    def handle(self, trial_id: str, message: TrialMessage) -> Verdict:
        """The verdict on a message: to stop, once the study has a fault."""
        try:
            return Verdict.STOP if self.fault else self._conductor.handle(trial_id, message)
        except AutomlError as fault:
            self.fault = fault
            return Verdict.STOP


class ConductorSearcher(Searcher):  # type: ignore[misc]  # ray is untyped
    """Hands the conductor's proposals to Tune, and a dead trial's end to the conductor.

    As many as the fleet has places for run or wait for their machines; no more are proposed.
    """

    def __init__(self, door: Door, fleet: Fleet) -> None:
        super().__init__(metric=None, mode=None)
        self._door = door
        self._fleet = fleet
        #: Tune's ids of the trials that run or wait for their machines.
        self._live: set[str] = set()
        #: Our trial of each of Tune's, and the latest of Tune's for each of ours.
        self._trials: dict[str, TrialConfig] = {}
        self._latest: dict[str, str] = {}
        self._to_restart: deque[TrialConfig] = deque()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next sample, None where a running trial has to report first, or FINISHED.

        A trial that a rung lets go on, that leaves its node, or that Tune has given up too early,
        is a new trial to Tune, and goes on from its checkpoint.
        """
        if len(self._live) >= self._fleet.places():
            return None
        config = self._to_restart.popleft() if self._to_restart else self._door.next_trial()
        if config is None:
            finished: str = Searcher.FINISHED
            return finished if self._door.is_over else None
        self._live.add(trial_id)
        self._trials[trial_id] = config
        self._latest[config.trial_id] = trial_id
        return {CONFIG_KEY: to_json(config)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """End a trial whose process died more often than allowed; another one starts again."""
        config = self._trials[trial_id]
        name = config.trial_id
        self._live.discard(trial_id)
        if trial_id in self._door.moving and not error:
            self._go_on_elsewhere(config)
            return
        # A trial that was paused and runs elsewhere by now is not this process's to end.
        if not error or self._latest[name] != trial_id:
            return
        if trial_id in self._door.given_up and self._door.fault is None:
            self._go_on_elsewhere(config)
        else:
            self._door.handle(
                name,
                TrialMessage(
                    kind="end",
                    seconds=0.0,
                    status=TrialStatus.FAILED,
                    reason="its process died, again after each restart"
                    + self._door.losses.get(trial_id, ""),
                ),
            )

    def _go_on_elsewhere(self, config: TrialConfig) -> None:
        if self._door.fault is None:
            self._to_restart.append(config)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its parts for a restore of its own, which the journal replaces."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study's journal holds it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the conductor reads the study's journal."""


class ConductorScheduler(FIFOScheduler):  # type: ignore[misc]  # ray is untyped
    """Passes each message to the conductor and turns its verdict into Tune's decision.

    A trial that is a group of workers is not stopped by Tune, which would leave the group behind:
    it reads the verdict in the journal and ends by itself. Others that report from a node which is
    about to go are stopped, and go on elsewhere.
    """

    _supports_buffered_results = False

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as for the searcher."""
        return {}

    def __init__(self, door: Door, fleet: Fleet, *, trials_end_by_themselves: bool) -> None:
        super().__init__()
        self._door = door
        self._fleet = fleet
        self._trials_end_by_themselves = trials_end_by_themselves

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide on a running trial."""
        if FAULT_KEY in result:
            self._door.fail(result[FAULT_KEY])
            return str(TrialScheduler.STOP)
        if MOVES_KEY in result:
            self._door.moving.add(trial.trial_id)
            return str(TrialScheduler.CONTINUE)
        message = from_json(TrialMessage, json.loads(result[MESSAGE_KEY]))
        verdict = self._door.handle(_name_of(trial), message)
        leaves = self._is_leaving(result)  # asked of groups, too: the fleet tells the user then
        if self._trials_end_by_themselves or message.kind == "end":
            return str(TrialScheduler.CONTINUE)
        stop = verdict is not Verdict.CONTINUE and message.kind == "epoch"
        if not stop and leaves:
            # What it has trained is in its checkpoint.
            self._door.moving.add(trial.trial_id)
            stop = True
        decision: str = TrialScheduler.STOP if stop else TrialScheduler.CONTINUE
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Keep Tune from giving the next trial a process on a node that is about to go.

        Tune uses a process again for trials that ask for the same resources.
        """
        if self._is_leaving(result):
            asked = trial.placement_group_factory
            trial.placement_group_factory = PlacementGroupFactory(
                asked.bundles, asked.strategy, name=f"leaving-{trial.trial_id}"
            )

    def _is_leaving(self, result: dict[str, Any]) -> bool:
        node = result.get(NODE_KEY)
        return node is not None and self._fleet.is_leaving(node)

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """A trial that starts again under a new id has been lost as often as it was."""
        trial.run_metadata.num_failures = self._door.lost_before.get(_name_of(trial), 0)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Keep what a trial was lost to, where Tune has it from Python, and if it may start again.

        Tune starts a trial again that was running, but none that was lost with a process that it
        was being handed to, which had been another trial's.
        """
        if trial.should_recover():
            self._door.given_up.add(trial.trial_id)
            self._door.lost_before[_name_of(trial)] = trial.run_metadata.num_failures
        # Tune's own `get_error` looks where the file is only after a synchronisation.
        written = Path(trial.error_file) if trial.error_file else None
        if written is None or not written.exists():
            return
        lines = written.read_text(encoding="utf-8", errors="replace").splitlines()
        told = [line for line in lines if _AN_ERROR.match(line)]
        if told:
            self._door.losses[trial.trial_id] = f": {told[-1]}"

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The oldest trial that waits for its resources.

        Tune's own way looks at all trials that there have been, several times a trial.
        """
        waiting = [t for t in tune_controller.get_live_trials() if t.status == Trial.PENDING]
        return min(waiting, key=lambda trial: str(trial.trial_id), default=None)

    def debug_string(self) -> str:
        """One line for Tune's own logs."""
        return "verdicts by the study's conductor"


def _name_of(trial: Trial) -> str:
    """Our id of a trial of Tune's."""
    return from_json(TrialConfig, trial.config[CONFIG_KEY]).trial_id
