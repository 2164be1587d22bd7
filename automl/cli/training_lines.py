"""What `automl train` prints: plan, epochs, what was exported, learnt and forgotten."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from automl.cli.describe import size_text
from automl.conductor.snapshot import Snapshot
from automl.records import Candidate, Scalar, TrialConfig, TrialMessage, Verdict

if TYPE_CHECKING:
    from automl.space.experiment import Experiment
    from automl.stages.continual import ContinualReport
    from automl.stages.train import TrainingReport
    from automl.stages.training_plan import TrainingPlan

#: The columns of the epochs; the accuracy that the experiment names comes on top.
_LOSSES = ("train_loss", "val_loss")


class TrainingLines:
    """The progress of one training: a row for each epoch."""

    def __init__(self, experiment: Experiment) -> None:
        self._metric = experiment.objectives[0].metric
        self._epochs = experiment.train.epochs
        self._head_is_due = True

    def say(self, line: str) -> None:
        """Print a line of text."""
        typer.echo(line)

    def on_message(self, config: TrialConfig, message: TrialMessage, verdict: Verdict) -> None:
        """Print costs, an epoch, or an end that is no completion."""
        if message.kind == "costs":
            costs = "  ".join(f"{m.metric} {m.value:.3g}" for m in message.measurements)
            self.say(f"untrained  {costs}\n")
        elif message.kind == "epoch":
            self._print_epoch(message)
        elif message.reason is not None:
            self.say(f"{message.status}: {message.reason}")
        if message.kind == "end":
            self.say("")

    def on_promoted(self, config: TrialConfig, epoch: int) -> None:
        """Nothing: a single trial waits for no other."""

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Nothing: lines come with the events."""

    def _print_epoch(self, message: TrialMessage) -> None:
        names = (*_LOSSES, self._metric)
        if self._head_is_due:
            self.say("  ".join(["    epoch", *(f"{name:>10}" for name in names), "seconds"]))
            self._head_is_due = False
        values = [f"{message.metrics[name]:>10.4f}" for name in names]
        place = f"{message.epoch:>3} of {self._epochs}"
        self.say("  ".join([f"{place:>9}", *values, f"{message.seconds:>7.1f}"]))


def plan_lines(plan: TrainingPlan, runs_on: str, out: Path) -> list[str]:
    """What is about to be trained, on what, and where it goes."""
    experiment = plan.experiment
    size = size_text(experiment.data.size, experiment.data.resize)
    values = experiment.space.default()
    text = ", ".join(f"{name} {_shown(value)}" for name, value in values.items())
    lines = [
        f"trains     {plan.origin}: {text}",
        f"data       {experiment.data.source} at {size}",
        f"epochs     {experiment.train.epochs}, seed {experiment.search.seed}",
        f"runs on    {runs_on}",
    ]
    if plan.start is not None:
        known, strength = plan.start.network.dataset, plan.start.ewc_lambda
        held = f"elastic weight consolidation, lambda {strength:g}" if strength else "nothing"
        lines.append(f"old data   {known.name}; held by {held}")
    return [*lines, f"results    {out}", ""]


def closing_lines(report: TrainingReport, experiment: Experiment, out: Path) -> list[str]:
    """The exported files as measured, and what to do with them."""
    metric = experiment.objectives[0].metric
    first = shlex.quote(str(out / "bundles" / next(iter(report.bundles))))
    return [
        "",
        f"{'file':>6}  {metric + ' val':>10}  {metric + ' test':>10}  {'p50 ms':>7}  {'MB':>6}",
        *(_file_line(candidate, metric) for candidate in report.candidates),
        *([] if report.continual is None else _continual_lines(report.continual, metric)),
        *_views_lines(report),
        "",
        "verified bundles:",
        *(f"  {out / 'bundles' / name}" for name in report.bundles),
        f"weights, to train further: {out / report.weights.name}",
        f"next: automl predict {first} photo.jpg --out mask.png",
    ]


def _file_line(candidate: Candidate, metric: str) -> str:
    return "  ".join(
        [
            f"{candidate.lineage.precision:>6}",
            _cell(candidate.value(metric, "val"), 10, ".4f"),
            _cell(candidate.value(metric, "test"), 10, ".4f"),
            _cell(candidate.value("latency_ms"), 7, ".2f"),
            _cell(candidate.value("size_mb"), 6, ".2f"),
        ]
    )


def _views_lines(report: TrainingReport) -> Sequence[str]:
    from automl.stages.views import views_summary

    return views_summary(report.views)


def _continual_lines(report: ContinualReport, metric: str) -> Sequence[str]:
    """The table of old and new data, before and after."""
    held = f"ewc-lambda {report.ewc_lambda:g}" if report.ewc_lambda else "plain fine-tuning"
    width = max(len(row.dataset) for row in report.scores)
    lines = [
        "",
        f"{metric} on {report.split}, {held}",
        f"  data  {'dataset':<{width}}  before   after   change",
    ]
    for row in report.scores:
        before, after = row.before[metric], row.after[metric]
        numbers = f"{before:.4f}  {after:.4f}  {after - before:+.4f}"
        lines.append(f"  {row.data:<4}  {row.dataset:<{width}}  {numbers}")
    if all(row.data != "old" for row in report.scores):
        lines.append("  old data is not at hand: --old-data names it, to see what was forgotten")
    return lines


def _cell(value: float | None, width: int, form: str) -> str:
    return "-".rjust(width) if value is None else format(value, form).rjust(width)


def _shown(value: Scalar) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
