"""What samplers make of what they are told: margins hold for each of several seeds together."""

import numpy as np
import pytest

from automl.sampling.choice import enough
from automl.space.forms import parse_space

LEARNING = ["tpe", "nsga2", "nsga3"]


def share_in_bad_half(lab, sampler, tell_bad):
    """How much of the last 25 of 50 trials lies in the bad half of a space, over three seeds.

    `tell_bad` tells of a trial there; its values would be the best of all.
    """
    space = parse_space(
        {"pruning_ratio": {"float": [0.0, 0.9], "default": 0.0}, "alpha": {"float": [0, 1]}}
    )
    count = 0
    for seed in range(3):
        proposer = lab.proposer(sampler, seed, space=space)
        for number in range(50):
            params = proposer.propose(number)
            ratio = params["pruning_ratio"]
            if ratio > 0.45:
                count += number >= 25
                tell_bad(proposer, number, params)
                continue
            proposer.begin(number, params)
            for fidelity in lab.fidelities:
                proposer.observe(number, fidelity, (-abs(ratio - 0.3), params["alpha"]))
    return count / (3 * 25)


def as_infeasible(proposer, number, params):
    proposer.begin(number, params)
    proposer.reject(number, {"latency_ms": 30.0 * params["pruning_ratio"]})


def as_failed(proposer, number, params):
    proposer.begin(number, params)
    proposer.reject(number, {})


def as_good(proposer, number, params):
    proposer.begin(number, params)
    for fidelity in (1, 3, 9):
        proposer.observe(number, fidelity, (params["pruning_ratio"], params["alpha"]))


def not_at_all(proposer, number, params):
    pass


@pytest.mark.parametrize("sampler", LEARNING)
@pytest.mark.parametrize("tell_bad", [as_infeasible, as_failed])
def test_regions_that_fail_or_cannot_be_feasible_are_avoided(lab, sampler, tell_bad):
    # Chance: one half. Mutations alone put a quarter of what NSGA breeds there.
    told = share_in_bad_half(lab, sampler, tell_bad)
    assert told < 0.4
    assert share_in_bad_half(lab, sampler, as_good) > told + 0.15


def test_a_sampler_that_is_not_told_of_failures_comes_back_for_more(lab):
    # What the telling is for: without it, the region looks unexplored.
    assert share_in_bad_half(lab, "tpe", not_at_all) > 0.6


@pytest.mark.parametrize("sampler", LEARNING)
@pytest.mark.parametrize("violations", [{}, {"latency_ms": 0.1}])
def test_failures_rank_behind_the_worst_success_not_beside_it(lab, sampler, violations):
    # All successes are equal, so that the worst values seen say nothing: the constraint must.
    numbers = {name: {"float": [0, 1]} for name in ("alpha", "gamma", "cutmix")}
    space = parse_space({"decoder": {"choice": ["unet", "fpn"]}, **numbers})
    proposer = lab.proposer(sampler, space=space)
    for number in range(20):
        params = dict.fromkeys(numbers, number / 20)
        proposer.begin(number, {**params, "decoder": "unet" if number % 2 else "fpn"})
        if number % 2:
            proposer.reject(number, violations)
        else:
            proposer.observe(number, 1, (0.5, 1.0))
    drawn = [proposer.propose(number)["decoder"] for number in range(20, 60)]
    assert drawn.count("fpn") > 26


def test_where_nothing_is_feasible_the_nearest_misses_are_what_is_tried(lab):
    space = parse_space({"alpha": {"float": [0, 1]}, "gamma": {"float": [0, 1]}})
    proposer = lab.proposer(space=space)
    for number in range(30):
        alpha = number / 29
        proposer.begin(number, {"alpha": alpha, "gamma": (number * 7 % 30) / 30})
        proposer.reject(number, {"latency_ms": 1.0 + 100 * alpha})
    drawn = [proposer.propose(number)["alpha"] for number in range(30, 50)]
    assert np.mean(drawn) < 0.3


@pytest.mark.parametrize("sampler", LEARNING)
def test_what_pays_is_proposed_more_often(lab, sampler):
    def error(params):
        return abs(float(np.log10(params["learning_rate"])) + 3.5) + (params["encoder"] != "small")

    early, late = [], []
    for seed in range(3):
        proposer = lab.proposer(sampler, seed, objectives=lab.objectives[:1], fidelities=(1,))
        for number in range(60):
            params = proposer.propose(number)
            proposer.begin(number, params)
            proposer.observe(number, 1, (-error(params),))
            early += [error(params)] if 1 <= number < 20 else []
            late += [error(params)] if number >= 40 else []
    assert np.mean(late) < 0.7 * np.mean(early)


def told_of_two_fidelities(lab, sampler, num_high):
    """At 1 epoch alpha should be 0.1, at 9 epochs 0.9; `num_high` trials tell of the latter."""
    space = parse_space({"alpha": {"float": [0, 1]}, "gamma": {"float": [0, 1]}})
    proposer = lab.proposer(sampler, space=space, objectives=lab.objectives[:1], fidelities=(1, 9))
    rng = np.random.default_rng(0)
    for number in range(40):
        alpha = float(rng.random())
        proposer.begin(number, {"alpha": alpha, "gamma": float(rng.random())})
        proposer.observe(number, 1, (-abs(alpha - 0.1),))
        if number >= 40 - num_high:
            proposer.observe(number, 9, (-abs(alpha - 0.9),))
    return np.mean([proposer.propose(number)["alpha"] for number in range(40, 60)]), space


@pytest.mark.parametrize("sampler", LEARNING)
def test_proposals_come_from_the_highest_fidelity_that_enough_trials_have_reached(lab, sampler):
    low, space = told_of_two_fidelities(lab, sampler, num_high=0)
    minimum = int(enough(sampler, space, None))
    still_low, _ = told_of_two_fidelities(lab, sampler, num_high=minimum - 1)
    high, _ = told_of_two_fidelities(lab, sampler, num_high=30)
    assert low < 0.45
    assert still_low == low if sampler != "tpe" else still_low < 0.45
    assert high > 0.55


def test_enough_trials_at_a_fidelity_change_the_study_that_proposals_come_from(lab):
    before, space = told_of_two_fidelities(lab, "tpe", num_high=5)
    after, _ = told_of_two_fidelities(lab, "tpe", num_high=int(enough("tpe", space, None)))
    assert before == told_of_two_fidelities(lab, "tpe", num_high=0)[0]
    assert after != before


def test_trials_that_never_reach_a_fidelity_are_not_what_is_imitated_there(lab):
    # What stops at one epoch has the best values of all there, and none at nine.
    space = parse_space({"decoder": {"choice": ["fpn", "unet"]}, "alpha": {"float": [0, 1]}})
    proposer = lab.proposer(space=space, fidelities=(1, 9))
    for number in range(30):
        stops = number % 2 == 1
        proposer.begin(number, {"decoder": "unet" if stops else "fpn", "alpha": number / 30})
        proposer.observe(number, 1, (9.0, 0.1) if stops else (number / 100, 1.0))
        if not stops:
            proposer.observe(number, 9, (number / 100, 1.0))
    drawn = [proposer.propose(number)["decoder"] for number in range(30, 50)]
    assert drawn.count("fpn") > 13


def test_running_trials_push_proposals_elsewhere(lab):
    space = parse_space({"alpha": {"float": [0, 1]}, "gamma": {"float": [0, 1]}})

    def distance(num_running):
        proposer = lab.proposer(space=space)
        rng = np.random.default_rng(0)
        for number in range(20):
            params = {"alpha": float(rng.random()), "gamma": float(rng.random())}
            proposer.begin(number, params)
            proposer.observe(number, 1, (-abs(params["alpha"] - 0.5), 1.0))
        for number in range(20, 20 + num_running):
            proposer.begin(number, {"alpha": 0.5, "gamma": (number - 20) / 8})
        drawn = [proposer.propose(number) for number in range(30, 60)]
        return np.mean([abs(params["alpha"] - 0.5) for params in drawn])

    assert distance(8) > 1.2 * distance(0)


@pytest.mark.parametrize("sampler", ["nsga2", "nsga3"])
@pytest.mark.parametrize("ended", [10, 40])
def test_a_generation_is_bred_from_the_best_of_those_before(lab, sampler, ended):
    # The good ones share a learning rate: without breeding it would hardly ever come back.
    proposer = lab.proposer(sampler)
    for number in range(ended):
        is_good = number < 10
        params = {**lab.space.default(), "encoder": "small", "batch_size": 2 + number % 31}
        params["learning_rate"] = 3e-3 if is_good else 1e-4 + number * 1e-5
        proposer.begin(number, params)
        proposer.observe(number, 1, (0.5 if is_good else 0.1, 1.0))
    drawn = [proposer.propose(number)["learning_rate"] for number in range(ended, ended + 20)]
    assert sum(rate == pytest.approx(3e-3) for rate in drawn) > len(drawn) / 2


def test_values_that_are_no_numbers_count_as_failures(lab):
    space = parse_space({"decoder": {"choice": ["fpn", "unet"]}, "alpha": {"float": [0, 1]}})
    proposer = lab.proposer(space=space)
    for number in range(24):
        is_lost = number % 2 == 1
        proposer.begin(number, {"decoder": "unet" if is_lost else "fpn", "alpha": number / 24})
        proposer.observe(number, 1, (float("nan") if is_lost else 0.5, 1.0))
    drawn = [proposer.propose(number)["decoder"] for number in range(24, 44)]
    assert drawn.count("fpn") > 13
