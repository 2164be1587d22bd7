"""A progress display that other programs follow, too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from automl.cli.progress import Progress
from automl.conductor.observers import Observers
from automl.conductor.snapshot import Snapshot
from automl.records import TrialConfig, TrialMessage, Verdict
from automl.stages.study import Narrator
from automl.store.journal import read_journal
from automl.store.layout import StudyFolder
from automl.tracking.choice import PROGRAMS
from automl.tracking.tracker import Tracking


class TrackedProgress:
    """Tells the display first: what it ends, the user's Ctrl-C, nobody else has to hear."""

    def __init__(self, inner: Progress, followers: Sequence[Tracking]) -> None:
        self._inner = inner
        self._observers = Observers(inner, *followers)

    def say(self, line: str) -> None:
        """Show a line of text."""
        self._inner.say(line)

    def on_message(self, config: TrialConfig, message: TrialMessage, verdict: Verdict) -> None:
        """A trial has reported."""
        self._observers.on_message(config, message, verdict)

    def on_promoted(self, config: TrialConfig, epoch: int) -> None:
        """A trial goes on."""
        self._observers.on_promoted(config, epoch)

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Something has changed."""
        self._observers.on_snapshot(snapshot)


@contextmanager
def tracked(inner: Progress, folder: StudyFolder, programs: Sequence[str]) -> Iterator[Narrator]:
    """Let programs follow what is narrated within the block; the study has ended where it ends."""
    followers = []
    for name in programs:
        start = PROGRAMS[name].start
        followers.append(Tracking(name, partial(start, folder), inner.say))
        followers[-1].replay(read_journal(folder.journal_file))
    try:
        yield TrackedProgress(inner, followers) if followers else inner
        for follower in followers:
            follower.finish(folder.root)
    finally:
        for follower in followers:
            follower.close()
