import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from automl.backend import JobFault
from automl.jobs.screening import ScreeningOutcome
from automl.records import TrialMessage, TrialStatus, to_json
from automl.space.screening import PROXY_NAMES
from automl.stages.correlation import (
    FEWEST,
    MOST,
    Correlations,
    RankCorrelation,
    correlate,
    rank_correlation,
    spearman,
)
from automl.store.journal import Journal

PAIRS = st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=2, max_size=20)


@given(PAIRS)
def test_spearman_is_scipys_with_ties_and_without_spread(pairs):
    first, second = map(list, zip(*pairs, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = spearmanr(first, second).statistic
    found = spearman(first, second)
    assert math.isnan(found) if math.isnan(expected) else found == pytest.approx(expected)


def test_an_interval_holds_the_value_is_repeatable_and_narrows_with_more_pairs():
    rng = np.random.default_rng(0)
    first = rng.normal(size=200)
    second = first + rng.normal(size=200)
    wide = rank_correlation(first[:12].tolist(), second[:12].tolist(), seed=1)
    narrow = rank_correlation(first.tolist(), second.tolist(), seed=1)
    assert rank_correlation(first.tolist(), second.tolist(), seed=1) == narrow
    for found in (wide, narrow):
        assert found.low < found.value < found.high
    assert narrow.high - narrow.low < (wide.high - wide.low) / 2
    assert narrow.helps
    assert not rank_correlation(first.tolist(), (-second).tolist(), seed=1).helps
    assert (wide.count, narrow.count) == (12, 200)


def test_chance_does_not_help():
    rng = np.random.default_rng(2)
    found = rank_correlation(rng.normal(size=20).tolist(), rng.normal(size=20).tolist(), seed=0)
    assert found.low < 0 < found.high
    assert not found.helps


def test_few_pairs_and_equal_values_say_nothing():
    few = [float(n) for n in range(FEWEST - 1)]
    assert rank_correlation(few, few, seed=0) is None
    enough = [*few, 99.0]
    assert rank_correlation(enough, enough, seed=0).value == pytest.approx(1.0)
    assert rank_correlation(enough, [1.0] * len(enough), seed=0) is None


# ---------------------------------------------------------------------- of a study


@pytest.fixture
def studied(study, backend_of, result):
    """Trials whose mIoU after epoch e is `mious[e - 1]`; params scores grow with the number."""

    def make(*trials, screen="off", answer=None):
        def scores(job):
            of_all = dict.fromkeys(PROXY_NAMES, 1.0)
            ratio = job.config.params["pruning_ratio"]
            return ScreeningOutcome(scores={**of_all, "params": ratio, "naswot": -ratio})

        of = replace(
            study(search={"screen": screen}),
            backend=backend_of(scores if answer is None else answer),
        )
        results = []
        with Journal(of.folder.journal_file) as journal:
            for number, (mious, status) in enumerate(trials):
                ended = result(number, mious[-1] if mious else None, status=status)
                config = replace(ended.config, params={"pruning_ratio": number / 200})
                ended = replace(ended, config=config)
                results.append(ended)
                for epoch, miou in enumerate(mious, start=1):
                    body = TrialMessage(
                        kind="epoch", seconds=1.0, epoch=epoch, metrics={"miou": miou}
                    )
                    journal.append(
                        {
                            "kind": "message",
                            "elapsed": 1.0,
                            "trial_id": ended.config.trial_id,
                            "message": to_json(body),
                            "verdict": "continue",
                        }
                    )
        return of, results

    return make


COMPLETED, STOPPED, FAILED = TrialStatus.COMPLETED, TrialStatus.STOPPED, TrialStatus.FAILED


def test_accuracies_are_compared_after_the_last_epoch_that_all_trials_reached(studied):
    # After epoch 2 more is better; what the longer ones reached later says the opposite.
    trials = [((0.1, 0.2 + n / 100, 0.9 - n / 10), COMPLETED) for n in range(7)]
    trials += [((0.1, 0.4), STOPPED), ((0.1,), FAILED), ((), TrialStatus.INFEASIBLE)]
    of, results = studied(*trials)
    found = correlate(of, results)
    assert (found.metric, found.epoch, found.count) == ("miou", 2, 8)
    assert found.by_proxy["params"].value == pytest.approx(1.0)
    assert found.by_proxy["naswot"].value == pytest.approx(-1.0)
    assert found.by_proxy["synflow"] is None
    assert list(found.by_proxy) == list(PROXY_NAMES)
    assert len(of.backend.jobs) == 8


def test_a_network_without_scores_is_left_out(studied):
    def answer(job):
        if job.config.number == 0:
            return JobFault(reason="lost")
        if job.config.number == 1:
            return ScreeningOutcome(fault="ValueError: no")
        return ScreeningOutcome(scores=dict.fromkeys(PROXY_NAMES, float(job.config.number)))

    of, results = studied(*(((n / 10,), COMPLETED) for n in range(10)), answer=answer)
    found = correlate(of, results)
    assert found.count == 8
    assert found.by_proxy["macs"].value == pytest.approx(1.0)


def test_without_a_trained_trial_there_is_nothing_to_compare(studied):
    of, results = studied(((), TrialStatus.INFEASIBLE))
    assert correlate(of, results) is None
    assert of.backend.jobs == []


def test_of_many_trials_a_spread_sample_is_scored(studied):
    of, results = studied(*(((n / 1000,), COMPLETED) for n in range(MOST * 2)))
    found = correlate(of, results)
    assert found.count == MOST == len(of.backend.jobs)
    scored = [job.config.params for job in of.backend.jobs]
    assert scored[0] == results[0].config.params
    assert scored[-1] == results[-1].config.params


# ---------------------------------------------------------------------- in words


def correlations(decisive, **by_proxy):
    return Correlations(metric="miou", epoch=4, count=9, by_proxy=by_proxy, decisive=decisive)


SURE = RankCorrelation(value=0.7, low=0.2, high=0.9, count=9)
UNSURE = RankCorrelation(value=0.3, low=-0.2, high=0.6, count=9)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (correlations("naswot", naswot=SURE, params=SURE), "by naswot helps here."),
        (correlations("naswot", naswot=UNSURE, params=SURE), "not shown to help here: think of"),
        (correlations("naswot", naswot=None, params=SURE), "by naswot is not shown to help here"),
        (correlations(None, naswot=UNSURE, params=SURE), "that would surely help: params."),
        (correlations(None, naswot=UNSURE, params=None), "that would surely help: none."),
        (correlations("naswot", naswot=None), "Too few trials, or too equal ones, to tell."),
    ],
)
def test_a_verdict_says_whether_it_helps(found, expected):
    assert expected in found.describe()
    assert "with miou on val after epoch 4, the last one that all 9 trials" in found.describe()
