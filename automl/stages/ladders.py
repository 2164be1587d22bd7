"""What the INT8 ladders of a study came to, in words and as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from automl.compression.ladder import Ladder, Rung
from automl.jobs.int8_candidate import ladder_of
from automl.stages.rank import Ranking
from automl.stages.study import Study
from automl.store.markdown import markdown_table

_PREFACE = (
    "Forms of INT8 in the order in which they were tried, each held against the FP32 file of the "
    "same network: the drop of the mIoU and of the class that loses most, on val; the speed by "
    "interleaved rounds of the two. A network of which every rung is refused ships in FP32."
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


def ladder_section(ladders: Sequence[Ladder]) -> list[str]:
    """The lines of the report's section; none without a ladder."""
    if not ladders:
        return []
    rows = [["network", "rung", "mIoU val", "drop", "worst class", "speed", "MB", "verdict"]]
    rows += [_row(ladder, rung) for ladder in ladders for rung in ladder.rungs]
    return [
        "## INT8",
        "",
        _PREFACE,
        "",
        *markdown_table(rows),
        "",
    ]


def ladder_summary(ladders: Sequence[Ladder]) -> list[str]:
    """A line for the end of a study; none without a ladder."""
    if not ladders:
        return []
    counts = Counter(_outcome(ladder) for ladder in ladders)
    told = [f"{counts[name]} {words}" for name, words in _WORDS.items() if counts[name]]
    return [f"int8: of {len(ladders)} networks {'; '.join(told)} (report.md: each rung)"]


def _outcome(ladder: Ladder) -> str:
    return "refused" if ladder.chosen is None else ladder.rung(ladder.chosen).outcome


def _row(ladder: Ladder, rung: Rung) -> list[str]:
    verdict = f"{rung.outcome}: {rung.reason}"
    if rung.quality is None or rung.speed is None:
        return [ladder.network, rung.name, "-", "-", "-", "-", "-", verdict]
    worst = "-" if rung.worst_class is None else f"{rung.worst_class} {rung.class_drop:+.4f}"
    return [
        ladder.network,
        rung.name,
        f"{rung.quality.miou:.4f}",
        f"{rung.drop:+.4f}",
        worst,
        f"{rung.speed.ratio:.2f}",
        f"{rung.size_mb:.2f}",
        verdict,
    ]
