"""What the commands print: a dataset, a plan, the front at the end."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from automl.cli.progress import epochs_text, spent_epochs
from automl.conductor.budget import planned_epochs, planned_rungs
from automl.fidelity import scaled_size
from automl.records import (
    SPLITS,
    Candidate,
    DatasetInfo,
    TrialStatus,
)
from automl.resize import ResizeMode
from automl.sampling.choice import resolve_sampler
from automl.space.declared import longest_warmup, never_declared
from automl.space.search_plan import plan_of

if TYPE_CHECKING:
    from automl.space.experiment import Experiment, SearchSettings
    from automl.stages.pipeline import StudyReport


#: The numbers of the table, each head in two lines: what, and its unit or split.
_NUMBERS = (
    "params\nM",
    "size\nMB",
    "mIoU\nval",
    "mIoU\ntest",
    "p50\nms",
    "speed\nx",
    "mIoU\nx",
)


_SHOWN_WARNINGS = 5


def describe_dataset(info: DatasetInfo) -> list[str]:
    """A dataset's size, classes and fingerprint."""
    size = size_text(info.size, info.resize.mode)
    counts = ", ".join(f"{info.counts[split]} {split}" for split in SPLITS)
    shares = ", ".join(
        f"{name} {share:.2%}"
        for name, share in zip(info.classes, info.class_pixel_share, strict=True)
    )
    return [
        f"dataset    {info.name}: {counts} images at {size}",
        f"           fingerprint {info.fingerprint[:16]}",
        f"classes    {shares} (of train pixels)",
    ]


def size_text(size: tuple[int, int], mode: ResizeMode) -> str:
    """The size of a network, and how images come to it where that is not the usual way."""
    height, width = size
    kept = ", letterboxed" if mode == "letterbox" else ""
    return f"{height} x {width} (height x width){kept}"


def describe_warnings(warnings: Sequence[str]) -> list[str]:
    """What the import found that is no fault but spoils scores; the first few of many."""
    more = len(warnings) - _SHOWN_WARNINGS
    lines = [f"warning    {warning}" for warning in warnings[:_SHOWN_WARNINGS]]
    return (
        [*lines, f"           and {more} more: automl data check lists them"] if more > 0 else lines
    )


def describe_experiment(experiment: Experiment) -> list[str]:
    """What a file declares."""
    search, train = experiment.search, experiment.train
    budget = _budget(search)
    bounds = [f"{name} <= {bound:g}" for name, bound in experiment.constraints.items()]
    goals = [f"{o.direction} {o.metric}" for o in experiment.objectives]
    size = size_text(experiment.data.size, experiment.data.resize)
    return [
        f"data       {experiment.data.source} at {size}",
        f"space      {experiment.space.describe()}",
        f"objectives {', '.join(goals)}" + (f"; subject to {', '.join(bounds)}" if bounds else ""),
        f"budget     {search.trials} trials of at most {train.epochs} epochs, {budget}",
        f"rungs      {_rungs(experiment)}",
        f"proposals  {_sampler(experiment)}, seed {search.seed}",
        *_schedule_notes(experiment),
    ]


def _schedule_notes(experiment: Experiment) -> list[str]:
    """What of a schedule has another effect than its numbers suggest."""
    search, train = experiment.search, experiment.train
    notes = []
    named, longest = longest_warmup(experiment.space, train)
    if longest > train.epochs / 2:
        given = f"{named}.warmup_epochs {longest:g}"
        notes.append(f"note       {given} is cut to half of the {train.epochs} epochs")
    notes += [
        f"note       train.{name} holds for no trial: space.{name} does"
        for name in never_declared(experiment.space, train)
    ]
    if search.min_epochs >= train.epochs > 1:
        given = f"search.min_epochs {search.min_epochs}"
        notes.append(f"note       {given} of {train.epochs} epochs: no trial can be stopped early")
    return notes


def _sampler(experiment: Experiment) -> str:
    given = experiment.search.sampler
    chosen = resolve_sampler(given, experiment.search.trials, experiment.space)
    return f"{chosen} ({given})" if given != chosen else chosen


def _rungs(experiment: Experiment) -> str:
    """How many trials train how long, on what, and what that makes together."""
    plan = plan_of(experiment)
    stages = [
        f"{count} to epoch {epoch}{_on(experiment, epoch)}" for epoch, count in planned_rungs(plan)
    ]
    unit = "full epochs" if experiment.fidelity.stretches else "epochs"
    return f"{', '.join(stages)}: {epochs_text(planned_epochs(plan))} {unit} in all"


def _on(experiment: Experiment, epoch: int) -> str:
    """What the epochs up to a rung train on, where that may be less than all."""
    if not experiment.fidelity.stretches:
        return ""
    stretch = experiment.fidelity.at(epoch)
    height, width = scaled_size(experiment.data.size, stretch.size_share)
    return f" (at {stretch.data_share * 100:g} % of the data, {height} x {width})"


def _budget(search: SearchSettings) -> str:
    limits = []
    if search.time_budget is not None:
        given = search.time_budget
        limits.append(f"at most {given}" if isinstance(given, str) else f"at most {given:g} s")
    if search.device_hours is not None:
        limits.append(f"at most {search.device_hours:g} device-hours")
    if search.stop_when.front_unchanged_for is not None:
        limits.append(f"until {search.stop_when.front_unchanged_for} trials leave the front as is")
    return ", ".join(limits) if limits else "no time limit"


def describe_plan(experiment: Experiment, backend: str, latency: str, place: str) -> list[str]:
    """What a search is about to do; `backend` says where it runs, `latency` where it is timed."""
    target, compress = experiment.target, experiment.compress
    int8 = "" if compress.int8 is None else ", each also as INT8 where that is accurate"
    students = len(compress.all_students)
    return [
        *describe_experiment(experiment),
        f"runs on    {backend}",
        f"target     {target.runtime} on {target.device}, {target.threads} thread(s), batch 1"
        + ("" if target.runtime == "onnxruntime" else ", without the resizes around the network"),
        f"latency    {latency}",
        f"then       {compress.winners} winners, {students} student(s) each{int8}",
        *_again(experiment),
        f"results    {place}",
        "",
    ]


def _again(experiment: Experiment) -> list[str]:
    seeds, tta = experiment.export.finalist_seeds, experiment.export.tta
    told = [f"best and default again with {seeds} further seed(s)"] if seeds else []
    if tta is not None:
        scales = ", ".join(f"{scale:g}" for scale in tta.scales)
        mirrored = ", each also mirrored" if tta.flip else ""
        told.append(f"bundles also scored by averaged views: scale {scales}{mirrored}")
    return [f"           {line}" for line in told]


def describe_report(report: StudyReport, place: str) -> Group:
    """The front against the default model, the counts of trials, and the bundles."""
    ranking = report.ranking
    default = ranking.candidate(ranking.standing.default)
    table = Table(
        title="Pareto front, measured on the exported files",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for name in ("model", "encoder", "decoder"):
        table.add_column(name, overflow="fold")
    for name in _NUMBERS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("note")
    for member in ranking.front:
        table.add_row(*_row(report, member, default))
    table.add_section()
    for candidate_id in dict.fromkeys([ranking.standing.smallest, ranking.standing.default]):
        candidate = ranking.candidate(candidate_id)
        if candidate is not None and candidate not in ranking.front:
            table.add_row(*_row(report, candidate, default), style="dim")
    return Group(Text(), table, Text("\n".join(_closing(report, place))))


def _row(report: StudyReport, candidate: Candidate, default: Candidate | None) -> list[str]:
    standing = report.ranking.standing
    marks = {
        "best": standing.best,
        "smallest": standing.smallest,
        "knee": standing.knee,
        "default": standing.default,
    }
    own = [mark for mark, name in marks.items() if name == candidate.candidate_id]
    return [
        candidate.candidate_id,
        str(candidate.params["encoder"]),
        f"{candidate.params['decoder']} {candidate.params['decoder_width']}",
        _cell(candidate, "params_m", "{:.2f}"),
        _cell(candidate, "size_mb", "{:.1f}"),
        _cell(candidate, "miou", "{:.4f}"),
        _test_cell(candidate),
        _cell(candidate, "latency_ms", "{:.2f}"),
        _ratio(default, candidate, "latency_ms"),
        _ratio(candidate, default, "miou"),
        ", ".join(own),
    ]


def _cell(candidate: Candidate, metric: str, form: str) -> str:
    value = candidate.value(metric)
    return "-" if value is None else form.format(value)


def _test_cell(candidate: Candidate) -> str:
    value = candidate.value("miou", "test")
    return "-" if value is None else f"{value:.4f}"


def _ratio(above: Candidate | None, below: Candidate | None, metric: str) -> str:
    """How one model compares with the other, as a factor."""
    top = None if above is None else above.value(metric)
    bottom = None if below is None else below.value(metric)
    return "-" if top is None or not bottom else f"{top / bottom:.2f}"


def _blind_spots(report: StudyReport) -> list[str]:
    """The classes of which the best model gets no pixel right on val."""
    missed = report.ranking.blind_spots(report.ranking.standing.best)
    return [f"beware: the best model never finds {', '.join(missed)} on val"] if missed else []


def _ladders(report: StudyReport) -> list[str]:
    from automl.stages.ladders import ladder_summary

    return ladder_summary(report.ladders, report.ranking)


def _further_seeds(report: StudyReport) -> list[str]:
    # The stages load torch, which a description of a plan must not.
    from automl.stages.seeds import seeds_summary

    return seeds_summary(report.repeats, report.ranking.standing)


def _views(report: StudyReport) -> list[str]:
    from automl.stages.views import views_summary

    return views_summary(report.views)


def _closing(report: StudyReport, place: str) -> list[str]:
    ended = [result.status for result in report.results]
    counts = ", ".join(f"{ended.count(status)} {status}" for status in TrialStatus)
    spent = spent_epochs(report.epochs, report.planned_epochs)
    reference = ", ".join(f"{value:.4g}" for value in report.ranking.reference)
    best = shlex.quote(f"{place}/bundles/best")
    bundles = [f"  {place}/bundles/{name}" for name in report.bundles]
    return [
        "x: times the default model, trial 0 in FP32, on val; above 1 is better",
        f"trials: {counts}",
        f"spent: {spent}, {report.device_hours:.2f} device-h",
        f"hypervolume {report.ranking.hypervolume:.4f} (reference point {reference})",
        *_ladders(report),
        *_further_seeds(report),
        *_views(report),
        "",
        "verified bundles:",
        *bundles,
        f"report: {place}/report.md    picture: {place}/front.png",
        *_blind_spots(report),
        f"next: automl predict {best} photo.jpg --out mask.png",
    ]
