"""What further seeds say of the finalists, in words and as a table."""

from __future__ import annotations

from collections.abc import Mapping

from automl.measurement.repeats import MeanInterval
from automl.records import Split
from automl.stages.finalists import SCORED_ON, Repeated, Repeats
from automl.store.markdown import markdown_table
from automl.store.tables import Standing

_PREFACE = (
    "The recipes of `best` and the default model repeated with further seeds: trained anew, a "
    "student with its teacher, exported and quantized. The mean and its 95 % interval (Student's "
    "t) are over these alone: the ranked run was chosen by its value on val, so it is not in the "
    "mean. What ships is the ranked run."
)


def chance_line(repeats: Repeats) -> str:
    """How much of a difference between two models may be chance."""
    if not repeats.files:
        return "one seed a model: differences of a point of mIoU may be chance"
    return (
        "one seed a model, `best` and the default excepted (see Seeds): other differences of a "
        "point of mIoU may be chance"
    )


def seeds_section(repeats: Repeats, standing: Standing) -> list[str]:
    """The lines of the report's section; none where no further seed was asked for."""
    if repeats.wanted == 0:
        return []
    if not repeats.files:
        return ["## Seeds", "", "No further seed succeeded; the search's own lines say why.", ""]
    return [
        "## Seeds",
        "",
        _PREFACE,
        "",
        *markdown_table(_rows(repeats, standing)),
        "",
    ]


def seeds_summary(repeats: Repeats, standing: Standing) -> list[str]:
    """Lines for the end of a study; none where no further seed was asked for."""
    if repeats.wanted == 0:
        return []
    best = repeats.of(standing.best)
    if best is None:
        return ["further seeds: none of the best model succeeded"]
    metric = repeats.metric
    scores = {split: best.interval(metric, split) for split in SCORED_ON}
    of = f"mean of {scores['val'].count}"
    interval = "" if scores["val"].half_width is None else " and its 95 % interval"
    gains = {split: repeats.gain(standing.best, standing.default, split) for split in SCORED_ON}
    lines = [f"further seeds, {of}{interval}: best {metric} {_by_split(scores, '.4f')}"]
    if gains["val"] is not None:
        lines.append(f"  best - default {_by_split(gains, '+.4f')}")
    return lines


def _by_split(intervals: Mapping[Split, MeanInterval | None], form: str) -> str:
    return ", ".join(f"{_text(i, form)} on {s}" for s, i in intervals.items() if i is not None)


def _rows(repeats: Repeats, standing: Standing) -> list[list[str]]:
    head = ["file", "split", f"{repeats.metric} as ranked", "further seeds", "mean, 95 %", "seeds"]
    rows = [head]
    for file in repeats.files:
        name = f"{file.candidate.candidate_id} ({_notes(file, standing)})"
        for split in SCORED_ON:
            values = file.values(repeats.metric, split)
            rows.append(
                [
                    name,
                    split,
                    _number(file.candidate.value(repeats.metric, split), ".4f"),
                    ", ".join(f"{value:.4f}" for value in values.values()),
                    _text(file.interval(repeats.metric, split), ".4f"),
                    f"{len(values)} of {repeats.wanted}",
                ]
            )
    return [*rows, *_gain_rows(repeats, standing)]


def _gain_rows(repeats: Repeats, standing: Standing) -> list[list[str]]:
    rows = []
    for split in SCORED_ON:
        gain = repeats.gain(standing.best, standing.default, split)
        if gain is not None:
            ranked = _number(_ranked_gain(repeats, standing, split), "+.4f")
            mean = _text(gain, "+.4f")
            seeds = f"{gain.count} of {repeats.wanted}"
            rows.append(["best - default, paired by seed", split, ranked, "", mean, seeds])
    return rows


def _ranked_gain(repeats: Repeats, standing: Standing, split: Split) -> float | None:
    files = (repeats.of(standing.best), repeats.of(standing.default))
    values = [None if f is None else f.candidate.value(repeats.metric, split) for f in files]
    best, default = values
    return None if best is None or default is None else best - default


def _notes(file: Repeated, standing: Standing) -> str:
    name = file.candidate.candidate_id
    notes = {"best": standing.best, "smallest": standing.smallest, "default": standing.default}
    return ", ".join(note for note, owner in notes.items() if owner == name)


def _text(interval: MeanInterval, form: str) -> str:
    if interval.half_width is None:
        return format(interval.mean, form)
    return f"{interval.mean:{form}} ± {interval.half_width:.4f}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
