"""Whether INT8 forms and pruned students are faster, by the timings of the ranking.

Networks are compressed beside one another, and a neighbour that trains slows INT8 and FP32 down by
different amounts: one network was timed 0.93 and 1.12 times as fast in one study. The ranking times
all files in turns while nothing trains, so its word is the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from automl.jobs.pruning_gate import PRUNING_VERDICT
from automl.records import Candidate
from automl.space.compression import CompressSettings


def settled(compress: CompressSettings, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The timed candidates, each for its size alone where it is not as fast as its gate asks for.

    One whose counterpart is not among them stays as it was.
    """
    return [_settled(compress, candidate, candidates) for candidate in candidates]


def ranked_speed(candidate: Candidate, candidates: Sequence[Candidate]) -> float | None:
    """How many times as fast as what it was made from; None where that was not timed."""
    name = _counterpart(candidate)
    made_from = next((c for c in candidates if c.candidate_id == name), None)
    if made_from is None:
        return None
    before, after = made_from.value("latency_ms"), candidate.value("latency_ms")
    return None if before is None or after is None else before / after


def _settled(
    compress: CompressSettings, candidate: Candidate, candidates: Sequence[Candidate]
) -> Candidate:
    least = _least(compress, candidate)
    speed = ranked_speed(candidate, candidates)
    if least is None or speed is None:
        return candidate
    return replace(candidate, for_size_alone=speed < least)


def _least(compress: CompressSettings, candidate: Candidate) -> float | None:
    if candidate.lineage.precision == "int8":
        return None if compress.int8 is None else compress.int8.min_speedup
    return compress.min_pruning_speedup


def _counterpart(candidate: Candidate) -> str | None:
    """The candidate that it was made from: the same network in FP32, or a student's teacher."""
    if candidate.lineage.precision == "int8":
        return f"{candidate.candidate_id.removesuffix('-int8')}-fp32"
    return candidate.lineage.teacher if PRUNING_VERDICT in candidate.lineage.recipe else None
