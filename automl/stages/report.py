"""The report of a study: `report.md` and the picture of its front."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from automl.records import Candidate, TrialResult
from automl.stages.correlation import Correlations
from automl.stages.finalists import Repeats
from automl.stages.ladders import ladder_section, ladders_of
from automl.stages.pictures import FrontPoint, FrontText, draw_front
from automl.stages.plan_section import plan_section
from automl.stages.prunings import pruning_section
from automl.stages.rank import Ranking
from automl.stages.seeds import chance_line, seeds_section
from automl.stages.study import Study
from automl.stages.views import Views, views_section
from automl.store.atomic import write_text
from automl.store.markdown import markdown_table
from automl.store.tables import Standing

_KINDS = {
    ("trial", "fp32"): "trial FP32",
    ("trial", "int8"): "trial INT8",
    ("student", "fp32"): "student FP32",
    ("student", "int8"): "student INT8",
}


_TITLES = {"miou": "mIoU", "dice": "Dice", "pixel_accuracy": "pixel accuracy"}


def write_report(
    study: Study,
    results: Sequence[TrialResult],
    ranking: Ranking,
    repeats: Repeats,
    correlations: Correlations | None = None,
    views: Views | None = None,
) -> None:
    """Write `front.png` and `report.md`.

    `correlations` are those of the zero-cost proxies, `views` the scores by averaged views.
    """
    counts = Counter(result.status.value for result in results)
    points = [_point(study, candidate, ranking.standing) for candidate in ranking.candidates]
    target = study.experiment.target
    draw_front(
        points,
        study.folder.front_picture,
        text=FrontText(
            title=f"{study.dataset.info.name}: accuracy against latency",
            accuracy=f"{_TITLES[study.experiment.objectives[0].metric]} on val",
            latency=f"{_kind_of_time(study)} p50, {target.runtime}, batch 1 (ms)",
            not_drawn={k: v for k, v in counts.items() if k != "completed"},
        ),
    )
    lines = [*_lines(study, results, ranking, repeats, views), *_prescreen(correlations)]
    write_text(study.folder.report_file, "\n".join(lines) + "\n")


def _point(study: Study, candidate: Candidate, standing: Standing) -> FrontPoint:
    name, lineage = candidate.candidate_id, candidate.lineage
    return FrontPoint(
        label=f"{candidate.params['encoder']} + {candidate.params['decoder']}",
        latency_ms=_number(candidate, "latency_ms"),
        accuracy=_number(candidate, study.experiment.objectives[0].metric),
        kind=_KINDS[lineage.kind, lineage.precision],
        on_front=name in standing.front,
        is_default=name == standing.default,
        is_best=name == standing.best,
    )


def _lines(
    study: Study,
    results: Sequence[TrialResult],
    ranking: Ranking,
    repeats: Repeats,
    views: Views | None,
) -> list[str]:
    experiment = study.experiment
    counts = Counter(result.status.value for result in results)
    minutes = sum(result.seconds for result in results) / 60
    ended = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    return [
        f"# Study on {study.dataset.info.name}",
        "",
        "![The front](front.png)",
        "",
        f"- dataset: {_dataset(study)}",
        f"- space: {experiment.space.describe()}; seed {experiment.search.seed}",
        f"- trials: {ended}; {minutes:.1f} minutes of trials",
        f"- front: {len(ranking.front)} of {len(ranking.candidates)} exported files",
        f"- hypervolume: {ranking.hypervolume:.4f}, between the front and "
        + _reference(study, ranking),
        f"- {chance_line(repeats)}",
        f"- latency: {_protocol(study)}",
        f"- classes that `best` never finds on val: {_blind_spots(ranking)}",
        "- choices were made on val; test was scored once, for the finalists alone",
        "",
        "## Exported files",
        "",
        *markdown_table(_candidate_rows(ranking)),
        "",
        *pruning_section(ranking.candidates),
        *ladder_section(ladders_of(study, ranking), ranking),
        *seeds_section(repeats, ranking.standing),
        *views_section(views),
        *plan_section(study, results),
        "## Trials",
        "",
        *markdown_table(_trial_rows(results)),
        "",
        "All columns are in `candidates.parquet` and `trials.parquet`.",
    ]


def _prescreen(correlations: Correlations | None) -> list[str]:
    if correlations is None:
        return []
    rows = [["proxy", "Spearman", "90 % interval", "decides"]]
    for name, found in correlations.by_proxy.items():
        value = "-" if found is None else f"{found.value:+.2f}"
        interval = "-" if found is None else f"{found.low:+.2f} to {found.high:+.2f}"
        rows.append([name, value, interval, "yes" if name == correlations.decisive else ""])
    return ["", "## Pre-screen", "", correlations.describe(), "", *markdown_table(rows)]


def _blind_spots(ranking: Ranking) -> str:
    missed = ranking.blind_spots(ranking.standing.best)
    return ", ".join(missed) if missed else "none"


def _dataset(study: Study) -> str:
    info = study.dataset.info
    counts = ", ".join(f"{split} {number}" for split, number in info.counts.items())
    return f"{info.name}, {counts}; fingerprint `{info.fingerprint}`"


def _protocol(study: Study) -> str:
    return (
        f"{_kind_of_time(study)} of the whole file, p50, one image at the network's size, timed in "
        "turn with all others; the wall times of the same calls stand beside it"
    )


def _kind_of_time(study: Study) -> str:
    """What decides: see `automl.jobs.costs.ranking_ms`."""
    threads = study.experiment.target.threads
    return "CPU time of 1 thread" if threads == 1 else f"wall time with {threads} threads"


def _reference(study: Study, ranking: Ranking) -> str:
    pairs = zip(study.experiment.objectives, ranking.reference, strict=True)
    return ", ".join(f"{objective.metric} {value:.4g}" for objective, value in pairs)


def _candidate_rows(ranking: Ranking) -> list[list[str]]:
    standing = ranking.standing
    default = ranking.candidate(standing.default)
    head = "file|network|kind|params M|MACs G|MB|mIoU val|mIoU test|ms|wall p50|wall p95|speed|note"
    rows = [head.split("|")]
    for candidate in sorted(ranking.candidates, key=lambda c: _number(c, "latency_ms")):
        speed = None
        if default is not None:
            speed = _number(default, "latency_ms") / _number(candidate, "latency_ms")
        rows.append(
            [
                candidate.candidate_id,
                " ".join(str(candidate.params[k]) for k in ("encoder", "decoder", "decoder_width")),
                _KINDS[candidate.lineage.kind, candidate.lineage.precision],
                _text(candidate.value("params_m"), ".2f"),
                _text(candidate.value("macs_g"), ".3f"),
                _text(candidate.value("size_mb"), ".2f"),
                _text(candidate.value("miou", "val"), ".4f"),
                _text(candidate.value("miou", "test"), ".4f"),
                _text(candidate.value("latency_ms"), ".2f"),
                _text(candidate.value("latency_wall_p50_ms"), ".2f"),
                _text(candidate.value("latency_wall_p95_ms"), ".2f"),
                _text(speed, ".2f"),
                _note(candidate, standing),
            ]
        )
    return rows


def _note(candidate: Candidate, standing: Standing) -> str:
    name = candidate.candidate_id
    notes = {
        "**best**": name == standing.best,
        "**smallest**": name == standing.smallest,
        "knee": name == standing.knee,
        "front": name in standing.front,
        "default": name == standing.default,
    }
    return ", ".join(note for note, holds in notes.items() if holds)


def _trial_rows(results: Sequence[TrialResult]) -> list[list[str]]:
    names = sorted({name for result in results for name in result.config.params})
    rows = [["trial", "status", "epochs", "mIoU", "ms", *names, "reason"]]
    rows += [
        [
            str(result.config.number),
            result.status.value,
            str(result.epochs),
            _text(result.value("miou"), ".4f"),
            _text(result.value("latency_ms"), ".2f"),
            *(_scalar(result.config.params.get(name)) for name in names),
            "" if result.reason is None else result.reason,
        ]
        for result in results
    ]
    return rows


def _scalar(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _number(candidate: Candidate, metric: str) -> float:
    value = candidate.value(metric)
    assert value is not None, f"{candidate.candidate_id} has no {metric}"
    return value
