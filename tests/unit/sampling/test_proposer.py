import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl.records import Objective, TrialStatus
from automl.sampling import POPULATION, STARTUP, Outcome, Proposer, halton
from automl.space.forms import parse_space

SPACE = parse_space(
    {
        "encoder": {"choice": ["small", "large", "huge"], "default": "large"},
        "decoder": {"choice": ["fpn", "unet"]},
        "decoder_width": {"int": [32, 128], "step": 32, "when": {"decoder": ["fpn"]}},
        "batch_size": {"int": [2, 32], "log": True},
        "pretrained": False,
        "pruning_ratio": {"float": [0.0, 0.6], "default": 0.0},
        "learning_rate": {"float": [1e-4, 1e-2], "log": True},
    }
)
OBJECTIVES = (
    Objective(metric="miou", direction="maximize"),
    Objective(metric="latency_ms", direction="minimize"),
)
SAMPLERS = sorted(STARTUP)


def proposer(sampler="tpe", seed=0, points=(), space=SPACE, objectives=OBJECTIVES):
    return Proposer(space, objectives, sampler=sampler, seed=seed, points=points)


def completed(number, params, values):
    return Outcome(number=number, params=params, values=values, status=TrialStatus.COMPLETED)


def toy(number, params):
    """A trial as it might end: sometimes completed, stopped, infeasible or failed."""
    rng = random.Random(number)
    accuracy = 1 - abs(np.log10(params["learning_rate"]) + 2.5) - 0.1 * rng.random()
    latency = {"small": 5.0, "large": 10.0, "huge": 40.0}[params["encoder"]]
    latency *= 1 - params["pruning_ratio"]
    common = {"number": number, "params": params}
    if latency > 30:
        return Outcome(
            **common, status=TrialStatus.INFEASIBLE, violations={"latency_ms": latency - 30}
        )
    if number % 7 == 5:
        return Outcome(**common, status=TrialStatus.FAILED)
    met = {"latency_ms": latency - 30}
    status = TrialStatus.STOPPED if number % 5 == 3 else TrialStatus.COMPLETED
    return Outcome(**common, values=(accuracy, latency), status=status, violations=met)


def study(proposer, count, history=()):
    outcomes = list(history)
    for number in range(len(outcomes), count):
        outcomes.append(toy(number, proposer.propose(number, outcomes)))
    return outcomes


@st.composite
def histories(draw):
    """Histories that no study could have had: any configuration, any end, any values."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    outcomes = []
    for number in range(draw(st.integers(0, 25))):
        params = SPACE.assign(lambda _, domain: domain.at(rng.random()))
        status = draw(st.sampled_from([None, *TrialStatus]))
        has_values = status is TrialStatus.COMPLETED or draw(st.booleans())
        miss = draw(st.floats(-1e3, 1e3))
        outcomes.append(
            Outcome(
                number=number,
                params=params,
                values=tuple(rng.normal(size=2).tolist()) if has_values else None,
                status=status,
                violations=draw(st.sampled_from([{}, {"latency_ms": miss}, {"size_mb": -miss}])),
            )
        )
    return outcomes


@settings(deadline=None, max_examples=40)
@given(history=histories(), sampler=st.sampled_from(SAMPLERS), seed=st.integers(0, 100))
def test_a_proposal_is_a_configuration_and_a_pure_function_of_its_arguments(history, sampler, seed):
    number = len(history)
    first = proposer(sampler, seed)
    params = first.propose(number, history)
    assert SPACE.restrict(params) == params == SPACE.complete(params)
    # Another call of the same object, a fresh object, and a journal read in another order.
    assert first.propose(number, history) == params
    assert proposer(sampler, seed).propose(number, history[::-1]) == params
    assert list(params) == [name for name in SPACE.domains if name in params]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_killed_study_goes_on_as_if_it_had_not_been(sampler):
    whole = study(proposer(sampler), 24)
    for cut in (1, 7, 15):
        assert study(proposer(sampler), 24, whole[:cut]) == whole


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_seeds_and_numbers_give_different_proposals(sampler):
    history = study(proposer(sampler), 12)
    drawn = [proposer(sampler, seed).propose(12, history) for seed in range(4)]
    drawn += [proposer(sampler).propose(number, history) for number in range(13, 17)]
    assert len({str(params) for params in drawn}) == len(drawn)


def test_trial_zero_is_the_default_whatever_happened():
    assert proposer(seed=3, points=[{"decoder": "unet"}]).propose(0, []) == SPACE.default()


def test_points_follow_the_default_completed_by_it():
    points = [{"decoder": "unet"}, {"encoder": "huge", "pruning_ratio": 0}]
    given_points = proposer(points=points)
    first, second = (given_points.propose(number, []) for number in (1, 2))
    assert first["decoder"] == "unet"
    assert "decoder_width" not in first
    assert second["encoder"] == "huge"
    assert type(second["pruning_ratio"]) is float
    assert given_points.propose(3, []) not in (first, second)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_configuration_is_tried_twice_while_others_are_left(sampler):
    space = parse_space({"encoder": {"choice": ["a", "b", "c", "d"]}, "gamma": {"choice": [0, 1]}})
    history = []
    for number in range(space.size + 1):
        params = proposer(sampler, space=space).propose(number, history)
        values = (float(params["gamma"]), 1.0)
        history.append(completed(number, params, values))
    tried = [tuple(outcome.params.values()) for outcome in history]
    assert len(set(tried[:-1])) == space.size
    assert space.restrict(history[-1].params) == history[-1].params


def crashes(sampler, status, *, is_told):
    """How many of the last 25 of 50 trials land where half of a space crashes, on average."""
    space = parse_space(
        {"pruning_ratio": {"float": [0.0, 0.9], "default": 0.0}, "alpha": {"float": [0, 1]}}
    )
    count = 0
    for seed in range(2):
        history = []
        for number in range(50):
            params = proposer(sampler, seed, space=space).propose(number, history)
            ratio = params["pruning_ratio"]
            if ratio <= 0.45:
                history.append(completed(number, params, (-abs(ratio - 0.3), params["alpha"])))
                continue
            count += number >= 25
            miss = {"latency_ms": 100 * ratio} if status is TrialStatus.INFEASIBLE else {}
            if is_told:
                history.append(
                    Outcome(number=number, params=params, status=status, violations=miss)
                )
    return count / 2


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
@pytest.mark.parametrize("status", [TrialStatus.FAILED, TrialStatus.INFEASIBLE])
def test_regions_that_fail_or_cannot_be_feasible_are_avoided(sampler, status):
    # Chance: one half. Mutations alone put a quarter of what NSGA-II breeds there.
    assert crashes(sampler, status, is_told=True) < 25 * 0.4


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
@pytest.mark.parametrize(
    ("status", "violations"),
    [(TrialStatus.FAILED, {}), (TrialStatus.INFEASIBLE, {"size_mb": 0.1})],
)
def test_failures_rank_behind_the_worst_success_not_beside_it(sampler, status, violations):
    # All successes are equal, so that the worst values seen say nothing: the constraint must.
    numbers = {name: {"float": [0, 1]} for name in ("alpha", "gamma", "cutmix")}
    space = parse_space({"decoder": {"choice": ["unet", "fpn"]}, **numbers})
    history = []
    for number in range(20):
        params = dict.fromkeys(numbers, number / 20)
        params["decoder"] = "unet" if number % 2 else "fpn"
        failed = Outcome(number=number, params=params, status=status, violations=violations)
        history.append(failed if number % 2 else completed(number, params, (0.5, 1.0)))
    drawn = [proposer(sampler, space=space).propose(number, history) for number in range(20, 60)]
    assert [params["decoder"] for params in drawn].count("fpn") > 28


def test_a_sampler_that_is_not_told_of_failures_comes_back_for_more():
    # What the telling is for: without it, the region looks unexplored.
    assert crashes("tpe", TrialStatus.FAILED, is_told=False) > 25 * 0.7


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_what_pays_is_proposed_more_often(sampler):
    def error(params):
        return abs(float(np.log10(params["learning_rate"])) + 3.5) + (params["encoder"] != "small")

    early, late = [], []
    for seed in range(2):
        history = []
        for number in range(60):
            params = proposer(sampler, seed, objectives=OBJECTIVES[:1]).propose(number, history)
            history.append(completed(number, params, (-error(params),)))
        early += [error(outcome.params) for outcome in history[1:20]]
        late += [error(outcome.params) for outcome in history[40:]]
    assert np.mean(late) < 0.6 * np.mean(early)


def test_stopped_trials_are_not_what_is_imitated():
    # Stopped trials have the best values of all, which must not count.
    space = parse_space({"decoder": {"choice": ["fpn", "unet"]}, "alpha": {"float": [0, 1]}})
    history = []
    for number in range(30):
        is_stopped = number % 2 == 1
        history.append(
            Outcome(
                number=number,
                params={"decoder": "unet" if is_stopped else "fpn", "alpha": number / 30},
                status=TrialStatus.STOPPED if is_stopped else TrialStatus.COMPLETED,
                values=(9.0, 0.1) if is_stopped else (number / 100, 1.0),
            )
        )
    drawn = [proposer(space=space).propose(number, history) for number in range(30, 50)]
    assert [params["decoder"] for params in drawn].count("fpn") > 15


def test_running_trials_push_proposals_elsewhere():
    space = parse_space({"alpha": {"float": [0, 1]}, "gamma": {"float": [0, 1]}})
    rng = np.random.default_rng(0)
    history = []
    for number in range(20):
        params = {"alpha": rng.random(), "gamma": rng.random()}
        history.append(completed(number, params, (-abs(params["alpha"] - 0.5), 1.0)))
    running = [
        Outcome(number=20 + i, params={"alpha": 0.5 + i / 1000, "gamma": 0.5}) for i in range(8)
    ]

    def distance(past):
        drawn = [proposer(space=space).propose(number, past) for number in range(30, 50)]
        return np.median([abs(params["alpha"] - 0.5) for params in drawn])

    assert distance(history + running) > 1.5 * distance(history)


def test_a_generation_is_bred_from_the_one_before():
    # All parents share one learning rate: without breeding it would hardly ever come back.
    history = []
    for number in range(POPULATION):
        params = {**SPACE.default(), "encoder": "small", "learning_rate": 3e-3}
        params["batch_size"] = 2 + number
        history.append(completed(number, params, (0.5, 1.0)))
    drawn = [proposer("nsga2").propose(number, history) for number in range(POPULATION, 30)]
    inherited = [params["learning_rate"] == pytest.approx(3e-3) for params in drawn]
    assert sum(inherited) > len(drawn) / 2


def test_history_of_full_parameters_or_of_a_foreign_space_does_no_harm():
    full = {"alpha": 0.5, "decoder": "unet", "decoder_width": 64, "encoder": "gone"}
    history = [completed(number, full, (number / 10, 1.0)) for number in range(12)]
    params = proposer().propose(12, history)
    assert SPACE.restrict(params) == params


def test_its_own_earlier_attempt_does_not_change_a_proposal():
    history = study(proposer(), 12)
    again = Outcome(number=12, params=SPACE.default(), status=TrialStatus.FAILED)
    assert proposer().propose(12, [*history, again]) == proposer().propose(12, history)


def test_values_that_are_no_numbers_count_as_failures():
    history = [
        completed(number, SPACE.default(), (float("nan") if number % 2 else 0.5, 1.0))
        for number in range(10)
    ]
    params = proposer().propose(10, history)
    assert SPACE.restrict(params) == params


def test_an_unknown_sampler_is_refused():
    with pytest.raises(ValueError, match="one of tpe, nsga2, random, qmc, got 'tpee'"):
        proposer("tpee")


@pytest.mark.parametrize(("dimension", "base"), [(0, 2), (1, 3), (2, 5), (5, 13)])
def test_halton_points_fill_every_interval_before_any_twice(dimension, base):
    for count in (base, base**2):
        points = [halton(index, dimension, seed=4) for index in range(count)]
        assert sorted(int(point * count) for point in points) == list(range(count))


def test_halton_dimensions_are_not_correlated():
    points = np.array([[halton(i, d, seed=0) for d in range(14)] for i in range(64)])
    assert ((points >= 0) & (points < 1)).all()
    off_diagonal = np.corrcoef(points.T)[~np.eye(14, dtype=bool)]
    assert np.abs(off_diagonal).max() < 0.5
