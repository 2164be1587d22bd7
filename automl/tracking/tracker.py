"""What follows a study for another program; a fault of it ends the following, never the study."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from automl.conductor.snapshot import Snapshot
from automl.records import TrialConfig, TrialMessage, Verdict, from_json


class Tracker(Protocol):
    """Is told what trials report, of earlier runs of the study first, and where it ended."""

    def on_message(self, config: TrialConfig, message: TrialMessage) -> None:
        """A trial has reported; an epoch may be told again."""

    def finish(self, study: Path) -> None:
        """The study has ended, and its folder holds bundles and a report."""

    def close(self) -> None:
        """Nothing follows, whether the study has ended or not."""


def replay(events: Iterable[Mapping[str, Any]], tracker: Tracker) -> None:
    """Tell a tracker what a journal holds."""
    configs: dict[str, TrialConfig] = {}
    for event in events:
        if event["kind"] == "proposed":
            config = from_json(TrialConfig, event["config"])
            configs[config.trial_id] = config
        elif event["kind"] == "message":
            message = from_json(TrialMessage, event["message"])
            tracker.on_message(configs[event["trial_id"]], message)


class Tracking:
    """An observer of a search that passes what happens to a tracker.

    `say` is told of the first fault: a server that went away must not end days of search.
    """

    def __init__(self, name: str, start: Callable[[], Tracker], say: Callable[[str], None]) -> None:
        self._name = name
        self._say = say
        self._tracker: Tracker | None = None
        self._guarded(lambda: setattr(self, "_tracker", start()))

    def replay(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Tell what earlier runs of the study left."""
        self._told(lambda tracker: replay(events, tracker))

    def on_message(self, config: TrialConfig, message: TrialMessage, verdict: Verdict) -> None:
        """Pass on what a trial reports."""
        self._told(lambda tracker: tracker.on_message(config, message))

    def on_promoted(self, config: TrialConfig, epoch: int) -> None:
        """Nothing: epochs follow."""

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Nothing: trackers draw their own sums."""

    def finish(self, study: Path) -> None:
        """The study has ended."""
        self._told(lambda tracker: tracker.finish(study))

    def close(self) -> None:
        """Nothing follows."""
        self._told(lambda tracker: tracker.close())
        self._tracker = None

    def _told(self, tell: Callable[[Tracker], None]) -> None:
        tracker = self._tracker
        if tracker is not None:
            self._guarded(lambda: tell(tracker))

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as fault:  # What other programs raise is theirs.
            self._tracker = None
            first_line = (str(fault).strip().splitlines() or [type(fault).__name__])[0]
            self._say(f"{self._name}: {first_line}; it follows no more, the study goes on")
