"""What the INT8 ladders of a study came to, in words and as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from automl.compression.ladder import Ladder, Rung
from automl.jobs.int8_candidate import int8_id, ladder_of
from automl.records import Candidate
from automl.stages.rank import Ranking
from automl.stages.ranked_pace import ranked_speed
from automl.stages.study import Study
from automl.store.markdown import markdown_table

_PREFACE = (
    "Forms of INT8 in the order in which they were tried, each held against the FP32 file of the "
    "same network: the drop of the mIoU and of the class that loses most, on val; the speed by "
    "interleaved rounds of the two, beside whatever was compressed at that time. `ranked` is the "
    "speed of the chosen form by the timings of the ranking, when nothing trained: it decides "
    "whether the form counts as faster. A network of which every rung is refused ships in FP32."
)

_WORDS = {
    "accepted": "accurate and faster",
    "smaller": "accurate and smaller, not faster",
    "refused": "refused: FP32 only",
}


def ladders_of(study: Study, ranking: Ranking) -> list[Ladder]:
    """The ladders of the ranked networks; none where the study makes no INT8."""
    names = dict.fromkeys(
        candidate.candidate_id.removesuffix(f"-{candidate.lineage.precision}")
        for candidate in ranking.candidates
    )
    found = [ladder_of(study.folder, name) for name in names]
    return [ladder for ladder in found if ladder is not None]


def ladder_section(ladders: Sequence[Ladder], ranking: Ranking) -> list[str]:
    """The lines of the report's section; none without a ladder."""
    if not ladders:
        return []
    titles = ["mIoU val", "drop", "worst class", "speed", "ranked", "MB", "verdict"]
    rows = [["network", "rung", *titles]]
    rows += [_row(ladder, rung, ranking) for ladder in ladders for rung in ladder.rungs]
    return [
        "## INT8",
        "",
        _PREFACE,
        "",
        *markdown_table(rows),
        "",
    ]


def ladder_summary(ladders: Sequence[Ladder], ranking: Ranking) -> list[str]:
    """A line for the end of a study; none without a ladder."""
    if not ladders:
        return []
    counts = Counter(_outcome(ladder, ranking) for ladder in ladders)
    told = [f"{counts[name]} {words}" for name, words in _WORDS.items() if counts[name]]
    return [f"int8: of {len(ladders)} networks {'; '.join(told)} (report.md: each rung)"]


def _outcome(ladder: Ladder, ranking: Ranking) -> str:
    form = _form(ladder, ranking)
    if form is None:
        return "refused"
    return "smaller" if form.for_size_alone else "accepted"


def _form(ladder: Ladder, ranking: Ranking) -> Candidate | None:
    """The INT8 form that a ladder chose, as the ranking knows it."""
    return ranking.candidate(int8_id(ladder.network))


def _ranked(ladder: Ladder, rung: Rung, ranking: Ranking) -> str:
    form = _form(ladder, ranking) if rung.name == ladder.chosen else None
    speed = None if form is None else ranked_speed(form, ranking.candidates)
    return "-" if speed is None else f"{speed:.2f}"


def _row(ladder: Ladder, rung: Rung, ranking: Ranking) -> list[str]:
    verdict = f"{rung.outcome}: {rung.reason}"
    if rung.quality is None or rung.speed is None:
        return [ladder.network, rung.name, *["-"] * 6, verdict]
    worst = "-" if rung.worst_class is None else f"{rung.worst_class} {rung.class_drop:+.4f}"
    return [
        ladder.network,
        rung.name,
        f"{rung.quality.miou:.4f}",
        f"{rung.drop:+.4f}",
        worst,
        f"{rung.speed.ratio:.2f}",
        _ranked(ladder, rung, ranking),
        f"{rung.size_mb:.2f}",
        verdict,
    ]
