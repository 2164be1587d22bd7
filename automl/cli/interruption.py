"""Stopping when asked: Ctrl-C and a polite kill, none of them lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from automl.cli.progress import Progress
from automl.conductor.snapshot import Snapshot
from automl.records import TrialConfig, TrialMessage, Verdict


class Interruption:
    """Whether the user has asked to stop.

    Python drops an exception that a signal raises inside a finaliser or a callback of native code,
    so the request is kept as well, and honoured at the next sign of progress.
    """

    def __init__(self) -> None:
        self._requested = False

    def request(self, _number: int, _frame: FrameType | None) -> None:
        """Handle a signal."""
        self._requested = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt where the user has asked to stop."""
        if self._requested:
            raise KeyboardInterrupt


class InterruptibleProgress:
    """A progress display that ends the study where the user has asked to stop."""

    def __init__(self, inner: Progress, interruption: Interruption) -> None:
        self._inner = inner
        self._interruption = interruption

    def say(self, line: str) -> None:
        """Show a line of text."""
        self._interruption.check()
        self._inner.say(line)

    def on_message(self, config: TrialConfig, message: TrialMessage, verdict: Verdict) -> None:
        """Show what a trial reports."""
        self._inner.on_message(config, message, verdict)
        self._interruption.check()

    def on_promoted(self, config: TrialConfig, epoch: int) -> None:
        """Show that a trial goes on."""
        self._inner.on_promoted(config, epoch)

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Show the counts."""
        self._inner.on_snapshot(snapshot)


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Let Ctrl-C and a polite kill raise KeyboardInterrupt, and be remembered."""
    interruption = Interruption()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, interruption.request) for number in numbers]
    try:
        yield interruption
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
