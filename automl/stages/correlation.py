"""How well the zero-cost proxies of a study's networks foretold their trained accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automl.records import TrialResult
from automl.space.screening import PROXY_NAMES
from automl.stages.screen import screen_networks
from automl.stages.search import rankable
from automl.stages.study import Study
from automl.store.journal import read_journal

#: Fewer trials than this say nothing about a rank correlation.
FEWEST = 8
#: More trials than this are not scored: a sample of them, spread over the study, will do.
MOST = 64
_RESAMPLES = 2000
_COVERAGE = (5.0, 95.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankCorrelation:
    """Spearman's coefficient over `count` pairs, and its 90 % bootstrap interval."""

    value: float
    low: float
    high: float
    count: int

    @property
    def helps(self) -> bool:
        """Whether more of the one surely goes with more of the other."""
        return self.low > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlations:
    """By proxy, its rank correlation with `metric` on val after `epoch` over `count` trials.

    `decisive` is the proxy that chose this study's first trials, or None where none did.
    """

    metric: str
    epoch: int
    count: int
    by_proxy: Mapping[str, RankCorrelation | None]
    decisive: str | None

    def describe(self) -> str:
        """What was compared, and whether it helps."""
        compared = (
            f"Rank correlation of the scores of untrained networks with {self.metric} on val after "
            f"epoch {self.epoch}, the last one that all {self.count} trials reached."
        )
        known = {name: found for name, found in self.by_proxy.items() if found is not None}
        if not known:
            return f"{compared} Too few trials, or too equal ones, to tell."
        helping = [name for name, found in known.items() if found.helps]
        if self.decisive is None:
            names = ", ".join(helping) if helping else "none"
            return f"{compared} Pre-screening was off; proxies that would surely help: {names}."
        verdict = (
            "helps here"
            if self.decisive in helping
            else "is not shown to help here: think of `search.screen: off`"
        )
        return f"{compared} Pre-screening by {self.decisive} {verdict}."


def correlate(study: Study, results: Sequence[TrialResult]) -> Correlations | None:
    """Compare what the proxies said with what training gave; None without any trained trial.

    Networks that were not in the pool are scored now. Accuracies are compared after the last epoch
    that all trained trials reached: those of different epochs do not compare.
    """
    metric = study.experiment.objectives[0].metric
    history = epoch_scores(read_journal(study.folder.journal_file), metric)
    trained = [trial for trial in rankable(results) if history.get(trial.config.trial_id)]
    if not trained:
        return None
    trained.sort(key=lambda trial: trial.config.number)
    places = np.linspace(0, len(trained) - 1, min(MOST, len(trained))).round().astype(int)
    trials = [trained[int(place)] for place in places]
    epoch = min(max(history[trial.config.trial_id]) for trial in trials)
    outcomes = screen_networks(study, [trial.config.params for trial in trials])
    pairs = [
        (outcome.scores, history[trial.config.trial_id][epoch])
        for trial, outcome in zip(trials, outcomes, strict=True)
        if outcome.scores is not None
    ]
    accuracies = [accuracy for _, accuracy in pairs]
    by_proxy: dict[str, RankCorrelation | None] = {
        name: rank_correlation([scores[name] for scores, _ in pairs], accuracies, seed=0)
        for name in PROXY_NAMES
    }
    settings = study.experiment.search.screen
    return Correlations(
        metric=metric,
        epoch=epoch,
        count=len(pairs),
        by_proxy=by_proxy,
        decisive=None if settings is None else settings.proxy,
    )


def epoch_scores(events: Sequence[Mapping[str, Any]], metric: str) -> dict[str, dict[int, float]]:
    """The value of a metric by trial and epoch, from a study's journal."""
    scores: dict[str, dict[int, float]] = {}
    for event in events:
        message = event.get("message", {})
        if message.get("kind") == "epoch" and metric in message["metrics"]:
            of_trial = scores.setdefault(event["trial_id"], {})
            of_trial[int(message["epoch"])] = float(message["metrics"][metric])
    return scores


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's correlation of the ranks, equal values sharing their mean rank; NaN without spread.

    Source: Spearman 1904; with ties as in Kendall 1945, "The treatment of ties in ranking
    problems".
    """
    ranks = np.stack([_mean_ranks(first), _mean_ranks(second)])
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    spread = math.sqrt(float((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
    return float((centred[0] * centred[1]).sum()) / spread if spread > 0 else math.nan


def rank_correlation(
    first: Sequence[float], second: Sequence[float], *, seed: int
) -> RankCorrelation | None:
    """Spearman's coefficient with its percentile bootstrap interval; None where it says nothing.

    That is with fewer than `FEWEST` pairs, or where one side has no spread. Source: Efron 1979,
    the pairs drawn with replacement; draws without spread are left out.
    """
    value = spearman(first, second) if len(first) >= FEWEST else math.nan
    if math.isnan(value):
        return None
    pairs = np.stack([np.asarray(first), np.asarray(second)])
    rng = np.random.default_rng(seed)
    drawn = [
        spearman(*pairs[:, rng.integers(0, len(first), len(first))].tolist())
        for _ in range(_RESAMPLES)
    ]
    low, high = np.nanpercentile(drawn, _COVERAGE)
    return RankCorrelation(value=value, low=float(low), high=float(high), count=len(first))


def _mean_ranks(values: Sequence[float]) -> NDArray[np.float64]:
    _, places, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[places], dtype=np.float64)
