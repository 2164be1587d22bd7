"""Several observers of one search, told in turn."""

from __future__ import annotations

from automl.conductor.snapshot import Observer, Snapshot
from automl.records import TrialConfig, TrialMessage, Verdict


class Observers:
    """Passes everything on, to the first observer first."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = list(observers)

    def add(self, observer: Observer) -> None:
        """One more, from now on."""
        self._observers.append(observer)

    def on_message(self, config: TrialConfig, message: TrialMessage, verdict: Verdict) -> None:
        """A trial has reported."""
        for observer in self._observers:
            observer.on_message(config, message, verdict)

    def on_promoted(self, config: TrialConfig, epoch: int) -> None:
        """A trial that was paused goes on."""
        for observer in self._observers:
            observer.on_promoted(config, epoch)

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Something has changed."""
        for observer in self._observers:
            observer.on_snapshot(snapshot)
