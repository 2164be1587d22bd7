"""The progress of a search: a live panel on a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from automl.conductor.snapshot import Observer, Snapshot
from automl.records import Objective, TrialConfig, TrialMessage, TrialStatus, Verdict

_RECENT = 6
_STYLES = {
    TrialStatus.COMPLETED: "green",
    TrialStatus.STOPPED: "yellow",
    TrialStatus.INFEASIBLE: "magenta",
    TrialStatus.FAILED: "bold red",
}


class Progress(Observer, Protocol):
    """An observer that can also be told a line."""

    def say(self, line: str) -> None:
        """Show a line of text."""


class PlainProgress:
    """One line an event, for logs and pipes."""

    def __init__(self, console: Console, objectives: Sequence[Objective]) -> None:
        self._console = console
        self._objectives = objectives

    def say(self, line: str) -> None:
        """Print a line."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def on_message(self, config: TrialConfig, message: TrialMessage, verdict: Verdict) -> None:
        """Print what a trial reports."""
        self.say(message_text(config, message, verdict, self._objectives))

    def on_promoted(self, config: TrialConfig, epoch: int) -> None:
        """Print that a trial goes on."""
        self.say(promotion_text(config, epoch))

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Nothing: lines come with the events."""


class LiveProgress:
    """A panel that is redrawn: counts, best so far, time left, and the latest events."""

    def __init__(self, live: Live, objectives: Sequence[Objective]) -> None:
        self._live = live
        self._objectives = objectives
        self._recent: list[Text] = []

    def say(self, line: str) -> None:
        """Print a line above the panel."""
        self._live.console.print(line, highlight=False, markup=False)

    def on_message(self, config: TrialConfig, message: TrialMessage, verdict: Verdict) -> None:
        """Keep the latest events; those that end a trial are printed above the panel."""
        text = message_text(config, message, verdict, self._objectives)
        if message.status is not None:
            self._live.console.print(Text(text, style=_STYLES[message.status]))
        else:
            self._remember(text)

    def on_promoted(self, config: TrialConfig, epoch: int) -> None:
        """Keep it among the latest events."""
        self._remember(promotion_text(config, epoch))

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Redraw."""
        bar = ProgressBar(total=snapshot.planned_epochs, completed=snapshot.epochs, width=60)
        line = Text(snapshot_text(snapshot, self._objectives))
        self._live.update(Group(*self._recent, Text(), bar, line))

    def _remember(self, text: str) -> None:
        self._recent = [*self._recent, Text(text, style="dim")][-_RECENT:]


@contextmanager
def showing_progress(console: Console, objectives: Sequence[Objective]) -> Iterator[Progress]:
    """The progress display that suits the console."""
    if not console.is_terminal:
        yield PlainProgress(console, objectives)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield LiveProgress(live, objectives)


def message_text(
    config: TrialConfig, message: TrialMessage, verdict: Verdict, objectives: Sequence[Objective]
) -> str:
    """One line for an event of a trial."""
    head = f"trial {config.number:>3}"
    if message.kind == "costs":
        costs = "  ".join(f"{m.metric} {m.value:.3g}" for m in message.measurements)
        what = ", ".join(f"{config.params.get(k)}" for k in ("encoder", "decoder", "decoder_width"))
        return f"{head}  starts: {what}: {costs}"
    if message.kind == "epoch":
        scores = "  ".join(
            f"{o.metric} {message.metrics[o.metric]:.4f}"
            for o in objectives
            if o.metric in message.metrics
        )
        pause = "" if verdict is Verdict.CONTINUE else "  waits here"
        return f"{head}  epoch {message.epoch:>3}  {scores}{_speed_text(message)}{pause}"
    reason = f": {message.reason}" if message.reason else ""
    return f"{head}  {message.status}{reason}"


def _speed_text(message: TrialMessage) -> str:
    """How the trial trains, where that was measured; told once."""
    if message.speed is None or message.epoch != 1:
        return ""
    return f"  in {message.speed}"


def promotion_text(config: TrialConfig, epoch: int) -> str:
    """One line for a trial that goes on."""
    return f"trial {config.number:>3}  goes on after epoch {epoch}"


def snapshot_text(snapshot: Snapshot, objectives: Sequence[Objective]) -> str:
    """The counts, the best trial and the times in two lines."""
    counts = (
        f"{snapshot.running} running, {snapshot.waiting} waiting, {snapshot.paused} paused, "
        f"{snapshot.completed} completed, {snapshot.infeasible} infeasible, "
        f"{snapshot.failed} failed; {spent_epochs(snapshot.epochs, snapshot.planned_epochs)}"
    )
    spent = f"{duration(snapshot.elapsed_s)} ({snapshot.device_hours:.2f} device-h)"
    parts = [f"front: {snapshot.front_size}", f"elapsed {spent}"]
    if snapshot.best is not None:
        values = zip(objectives, snapshot.best.values, strict=True)
        scores = ", ".join(f"{o.metric} {value:.4g}" for o, value in values)
        parts.insert(0, f"best so far: trial {snapshot.best.number} ({scores})")
    if snapshot.time_left_s is not None:
        parts.append(f"about {duration(snapshot.time_left_s)} left")
    return counts + "\n" + ", ".join(parts)


def spent_epochs(spent: float, planned: float) -> str:
    """`20 of 80 epochs`, or `7.5 of 30.2 full epochs` where some trained on less than all."""
    is_whole = float(spent).is_integer() and float(planned).is_integer()
    unit = "epochs" if is_whole else "full epochs"
    return f"{epochs_text(spent)} of {epochs_text(planned)} {unit}"


def epochs_text(count: float) -> str:
    """A number of full epochs, with one decimal where it is not whole."""
    return f"{count:.0f}" if float(count).is_integer() else f"{count:.1f}"


def duration(seconds: float) -> str:
    """A time as people say it: 45 s, 12 min, 1 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
