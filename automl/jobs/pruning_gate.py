"""The speed gate of a study's pruned students, on the exported files.

What it says stands in the recipe of the student's candidates. A student that is no faster than its
teacher is kept for its size alone, as an INT8 form is that is no faster than in FP32: it may be the
smallest, and is on the front only where the size is an objective.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from automl.compression.pace import Pace, judge_pace
from automl.jobs.candidates import ARTIFACT, RECORD
from automl.jobs.context import JobContext
from automl.jobs.int8_candidate import StudyMeter

#: Where a candidate's recipe says what became of pruning.
PRUNING_VERDICT = "pruning"


def pace_of_student(
    context: JobContext, artifact: Path, teacher_id: str, export_teacher: Callable[[Path], None]
) -> Pace:
    """Time a student's file in turns with its teacher's, which is exported if it is not there."""
    teacher = context.folder.candidate(teacher_id)
    if (teacher / RECORD).exists():
        return _pace(context, teacher / ARTIFACT, artifact)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / ARTIFACT
        export_teacher(file)
        return _pace(context, file, artifact)


def _pace(context: JobContext, teacher: Path, student: Path) -> Pace:
    speed = StudyMeter(context).speed(teacher, student)
    least = context.experiment.compress.min_pruning_speedup
    return judge_pace(speed.ratio, least, than="its teacher")
