"""What the speed gate said of a study's pruned students, in words and as a table."""

from __future__ import annotations

from collections.abc import Sequence

from automl.jobs.pruning_gate import PRUNING_VERDICT
from automl.records import Candidate
from automl.stages.ranked_pace import ranked_speed
from automl.store.markdown import markdown_table

_PREFACE = (
    "Pruned students in FP32, each timed in turns with its teacher when it was made. `ranked` is "
    "the speed by the timings of the ranking, when nothing trained: one that is no faster there is "
    "kept for its size alone, and is on the front only where the size is an objective."
)


def pruned_students(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that met the gate, in FP32: their INT8 forms have a ladder of their own."""
    return [
        c
        for c in candidates
        if PRUNING_VERDICT in c.lineage.recipe and c.lineage.precision == "fp32"
    ]


def pruning_section(candidates: Sequence[Candidate]) -> list[str]:
    """The lines of the report's section; none without a pruned student."""
    students = pruned_students(candidates)
    if not students:
        return []
    rows = [["student", "teacher", "ratio", "mIoU val", "MACs (G)", "MB", "ranked", "verdict"]]
    rows += [
        [
            c.candidate_id,
            str(c.lineage.teacher),
            f"{c.lineage.recipe['student_pruning_ratio']:g}",
            _number(c.value("miou", "val"), ".4f"),
            _number(c.value("macs_g"), ".3f"),
            _number(c.value("size_mb"), ".2f"),
            _number(ranked_speed(c, candidates), ".2f"),
            str(c.lineage.recipe[PRUNING_VERDICT]),
        ]
        for c in students
    ]
    return ["## Pruning", "", _PREFACE, "", *markdown_table(rows), ""]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
