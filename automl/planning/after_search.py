"""What comes after the search: exports, students, INT8, ranking, further seeds."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from automl.planning.drawing import Drawn
from automl.space.experiment import Experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterSearch:
    """Seconds of the jobs that run on the workers, in the order in which they are handed out.

    The ranking runs in between, on the machine that the search was started on.
    """

    compress_s: tuple[float, ...]
    rank_s: float
    again_s: tuple[float, ...]


def after_search(
    experiment: Experiment,
    networks: Sequence[Drawn],
    images: Mapping[str, int],
    rng: np.random.Generator,
) -> AfterSearch:
    """What one course of a study has to do once its trials have ended.

    Winners are drawn among the feasible networks. A student's epoch is taken to be one of its
    teacher's and a pass of the teacher over the training images, as it is pruned by a ratio that
    hardly shows in so rough an estimate. An INT8 ladder tries one rung or all of them; each
    calibrates and scores val.
    """
    compress, feasible = experiment.compress, [n for n in networks if n.infeasible is None]
    if not feasible:
        return AfterSearch(compress_s=(), rank_s=0.0, again_s=())
    count = min(compress.winners, len(feasible))
    winners = [feasible[i] for i in rng.choice(len(feasible), count, replace=False)]
    exported = [feasible[0], *winners]
    int8 = [_ladder_s(experiment, network, images, rng) for network in (*exported, *exported)]
    students = [
        _student_s(network, epochs, images)
        for network in winners
        for epochs in map(compress.epochs_of, compress.all_students)
    ]
    plain = [n.setup_s + int8[i] for i, n in enumerate(exported)]
    compress_s = [*plain, *(s + int8[i % len(int8)] for i, s in enumerate(students))]
    files = len(compress_s) * (1 if compress.int8 is None else 2)
    typical_s = float(np.mean([n.image_s for n in exported]))
    scoring_s = files * images["val"] * typical_s + 0.5 * files * images["test"] * typical_s
    timing_s = files * (experiment.target.rounds + 3) * typical_s
    return AfterSearch(
        compress_s=tuple(compress_s),
        rank_s=scoring_s + timing_s,
        again_s=tuple(_again_s(experiment, exported, images)),
    )


def _student_s(teacher: Drawn, epochs: int, images: Mapping[str, int]) -> float:
    teaching_s = teacher.evaluation_s / max(1, images["val"]) * images["train"]
    return teacher.setup_s + epochs * (teacher.epoch_s + teaching_s + teacher.evaluation_s)


def _ladder_s(
    experiment: Experiment, network: Drawn, images: Mapping[str, int], rng: np.random.Generator
) -> float:
    int8 = experiment.compress.int8
    if int8 is None:
        return 0.0
    rungs = int8.rungs_in(experiment.target.runtime)
    tried = rng.integers(1, len(rungs) + 1)
    calibrated = min(experiment.compress.calibration_images, images["train"])
    seconds = float(tried) * (calibrated + images["val"]) * network.image_s
    if "qat" in rungs and tried == len(rungs):
        seconds += int8.qat_epochs * (network.epoch_s + network.evaluation_s)
    return seconds


def _again_s(
    experiment: Experiment, exported: Sequence[Drawn], images: Mapping[str, int]
) -> list[float]:
    """Default and best again with further seeds: trained, and a student distilled from the best."""
    epochs, compress = experiment.train.epochs, experiment.compress
    jobs = []
    for _ in range(experiment.export.finalist_seeds):
        jobs += [n.setup_s + epochs * (n.epoch_s + n.evaluation_s) for n in exported[:2]]
        jobs += [_student_s(exported[-1], compress.epochs_of(s), images) for s in compress.students]
    return jobs


def makespan_s(jobs_s: Sequence[float], places: int) -> float:
    """How long jobs take that are handed out in order, each to the place that is free first."""
    free_s = [0.0] * places
    for seconds in jobs_s:
        heapq.heapreplace(free_s, free_s[0] + seconds)
    return max(free_s)
