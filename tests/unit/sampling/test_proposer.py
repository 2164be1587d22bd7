import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.samplers import GPSampler
from optuna.storages import InMemoryStorage

from automl.records import canonical_json
from automl.sampling.choice import STARTUP
from automl.space.domains import Choice, FloatRange, IntRange
from automl.space.forms import parse_space

# GP takes seconds a proposal: it has tests of its own below.
FAST = [name for name in STARTUP if name != "gp"]
LEARNING = ["tpe", "nsga2", "nsga3"]


@st.composite
def tellings(draw, space, fidelities):
    """What no search might tell: any configuration, any order, any end, any values."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = draw(st.integers(0, 30))
    told = []
    for number in range(count):
        told.append(("begin", number, space.assign(lambda _, domain: domain.at(rng.random()))))
        for _ in range(draw(st.integers(0, 3))):
            number_then = int(rng.integers(number + 1))
            if rng.random() < 0.3:
                miss = draw(st.sampled_from([{}, {"latency_ms": 3.0}, {"size_mb": 1.0}]))
                told.append(("reject", number_then, miss))
                continue
            values = tuple(rng.normal(size=2).tolist())
            if rng.random() < 0.1:
                values = (float("nan"), 1.0)
            told.append(("observe", number_then, int(rng.choice(fidelities)), values))
    return told


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), sampler=st.sampled_from(FAST), seed=st.integers(0, 100))
def test_a_proposal_is_a_configuration_and_a_pure_function_of_what_was_told(
    lab, data, sampler, seed
):
    told = data.draw(tellings(lab.space, lab.fidelities))
    number = sum(verb == "begin" for verb, *_ in told)
    silent, asked = lab.proposer(sampler, seed), lab.proposer(sampler, seed)
    lab.tell(silent, told)
    for call in told:
        # What is asked in between, however often, leaves no trace.
        asked.propose(7)
        lab.tell(asked, [call])
    params = silent.propose(number)
    assert asked.propose(number) == silent.propose(number) == params
    assert lab.space.restrict(params) == params == lab.space.complete(params)
    assert list(params) == [name for name in lab.space.domains if name in params]


#: Its Gaussian process takes minutes.
SLOW = pytest.param("auto", marks=pytest.mark.exhaustive)


@pytest.mark.parametrize("sampler", [SLOW, *FAST])
def test_a_killed_study_goes_on_as_if_it_had_not_been(lab, sampler):
    def fresh():
        return lab.proposer(sampler, num_trials=48)

    whole = lab.study(fresh(), 48)
    for cut in (1, 9, 70, 100):
        begun = next(i for i, call in enumerate(whole) if call[0] == "begin" and i >= cut)
        assert lab.study(fresh(), 48, whole[:begun]) == whole


@pytest.mark.parametrize("sampler", LEARNING)
def test_another_process_with_other_hashes_proposes_the_same(lab, sampler):
    script = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("lab", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
lab = module.Lab()
print(lab.study(lab.proposer(sys.argv[2]), 30))
"""
    path = __file__.replace("test_proposer.py", "conftest.py")
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script, path, sampler],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1


@pytest.mark.parametrize("sampler", FAST)
def test_seeds_and_numbers_give_different_proposals(lab, sampler):
    told = lab.study(lab.proposer(sampler), 12)
    drawn = []
    for seed in range(4):
        proposer = lab.proposer(sampler, seed)
        lab.tell(proposer, told)
        drawn += [proposer.propose(number) for number in (12, 13)]
    assert len({str(params) for params in drawn}) == len(drawn)


def test_trial_zero_is_the_default_whatever_is_known(lab):
    proposer = lab.proposer(seed=3, points=[{"decoder": "unet"}])
    lab.study(proposer, 10)
    assert proposer.propose(0) == lab.space.default()


def test_points_follow_the_default_completed_by_it_each_once(lab):
    points = [{"decoder": "unet"}, {"encoder": "large"}, {"decoder": "unet"}]
    points.append({"encoder": "huge", "pruning_ratio": 0})
    proposer = lab.proposer(points=points)
    first, second = (proposer.propose(number) for number in (1, 2))
    assert first["decoder"] == "unet"
    assert "decoder_width" not in first
    assert second["encoder"] == "huge"
    assert type(second["pruning_ratio"]) is float
    assert proposer.propose(3) not in (lab.space.default(), first, second)


@pytest.mark.parametrize("sampler", ["auto", *STARTUP])
def test_no_configuration_is_tried_twice_while_others_are_left(lab, sampler):
    # Enough of them that chance would not find the last ones; GP takes its time.
    last = "b" if sampler == "gp" else "z"
    letters = [chr(code) for code in range(ord("a"), ord(last) + 1)]
    space = parse_space({"encoder": {"choice": letters}, "gamma": {"choice": [0, 1]}})
    proposer = lab.proposer(sampler, space=space)
    tried = []
    for number in range(space.size + 1):
        params = proposer.propose(number)
        proposer.begin(number, params)
        proposer.observe(number, 1, (float(params["gamma"]), 1.0))
        tried.append(canonical_json(params))
    assert len(set(tried[:-1])) == space.size
    assert tried[-1] in tried[:-1]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "nsga3", "qmc", "random"])
def test_conditions_hold_in_what_is_proposed_and_their_parameters_vary(lab, sampler):
    space = parse_space(
        {
            "decoder": {"choice": ["fpn", "unet", "deeplabv3plus"]},
            "decoder_width": {"int": [32, 128], "step": 32, "when": {"decoder": ["fpn", "unet"]}},
            "encoder": {"choice": ["small", "large"], "when": {"decoder": ["unet"]}},
            "alpha": {"float": [0, 1], "when": {"encoder": ["large"]}},
            "learning_rate": {"float": [1e-4, 1e-2], "log": True},
        }
    )
    proposer = lab.proposer(sampler, space=space)
    late = []
    for number in range(50):
        params = proposer.propose(number)
        assert space.restrict(params) == params == space.complete(params)
        proposer.begin(number, params)
        proposer.observe(number, 1, (float(params["learning_rate"]), 1.0))
        late += [params] if number >= 15 else []
    for name in ("decoder_width", "encoder"):
        assert len({params[name] for params in late if name in params}) > 1


def test_proposals_stay_within_odd_domains(lab):
    domains = lab.space.domains
    assert {Choice, IntRange, FloatRange} == {type(domain) for domain in domains.values()}
    for sampler in FAST:
        for verb, *arguments in lab.study(lab.proposer(sampler), 25):
            if verb == "begin":
                params = arguments[1]
                assert all(domains[name].contains(value) for name, value in params.items())
                assert params["pretrained"] is False


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe", "nsga2"])
def test_a_proposal_costs_as_many_calls_among_many_trials_as_among_few(lab, sampler, monkeypatch):
    calls = {"create": 0, "at": 0}
    create, at = InMemoryStorage.create_new_trial, FloatRange.at

    def counted_create(*arguments, **named):
        calls["create"] += 1
        return create(*arguments, **named)

    def counted_at(self, unit):
        calls["at"] += 1
        return at(self, unit)

    monkeypatch.setattr(InMemoryStorage, "create_new_trial", counted_create)
    monkeypatch.setattr(FloatRange, "at", counted_at)
    proposer = lab.proposer(sampler)
    costs = {}
    for number in range(203):
        before = dict(calls)
        params = proposer.propose(number)
        costs[number] = {name: calls[name] - before[name] for name in calls}
        lab.tell(proposer, lab.calls(number, params))
    learned = sampler in LEARNING
    expected = {"create": int(learned), "at": 0 if learned else 2}
    assert costs[30] == costs[202] == expected


def test_what_is_told_twice_or_out_of_place_is_refused_or_ignored(lab):
    proposer = lab.proposer()
    proposer.begin(0, lab.space.default())
    with pytest.raises(ValueError, match="trial 0 was begun before"):
        proposer.begin(0, lab.space.default())
    with pytest.raises(ValueError, match="trial 1 was not begun"):
        proposer.observe(1, 1, (0.5, 1.0))
    with pytest.raises(ValueError, match=r"one of \(1, 3, 9\), got 2"):
        proposer.observe(0, 2, (0.5, 1.0))
    proposer.observe(0, 1, (0.5, 1.0))
    again, once = lab.proposer(), lab.proposer()
    told = lab.study(lab.proposer(), 20)
    lab.tell(once, told)
    for call in told:
        lab.tell(again, [call, call] if call[0] != "begin" else [call])
    assert again.propose(20) == once.propose(20)


@pytest.mark.parametrize("sampler", ["nsga2", "random"])
def test_parameters_outside_the_space_do_no_harm(lab, sampler):
    proposer = lab.proposer(sampler)
    for number in range(12):
        params = {"alpha": 0.5, "decoder": "unet", "decoder_width": 64, "encoder": "gone"}
        proposer.begin(number, params)
        proposer.observe(number, 1, (number / 10, 1.0))
    params = proposer.propose(12)
    assert lab.space.restrict(params) == params == lab.space.complete(params)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fidelities": ()}, "fidelities must ascend"),
        ({"fidelities": (3, 1)}, "fidelities must ascend"),
        ({"fidelities": (1, 1)}, "fidelities must ascend"),
        ({"bounds": {"latency_ms": 0.0}}, "bounds must be positive"),
    ],
)
def test_arguments_without_sense_are_refused(lab, changes, message):
    with pytest.raises(ValueError, match=message):
        lab.proposer(**changes)


@pytest.mark.slow
def test_gp_learns_from_several_objectives_with_constraints_and_parallel_trials(lab):
    told = lab.study(lab.proposer("qmc"), 9)

    def proposed():
        proposer = lab.proposer("gp")
        lab.tell(proposer, told)
        first = proposer.propose(9)
        proposer.begin(9, first)  # still runs when the next one is proposed
        return first, proposer.propose(10)

    first, second = proposed()
    assert proposed() == (first, second)
    assert first != second
    assert lab.space.restrict(second) == second == lab.space.complete(second)


def test_a_model_that_cannot_be_fitted_ends_no_search(lab, monkeypatch):
    def fails(*_):
        raise RuntimeError("linalg.cholesky: the input is not positive-definite")

    monkeypatch.setattr(GPSampler, "sample_relative", fails)
    proposer = lab.proposer("gp")
    told = lab.study(proposer, 12)
    first = proposer.propose(12)
    again = lab.proposer("gp")
    lab.tell(again, told)
    assert again.propose(12) == first == lab.space.restrict(first)


def test_proposing_loads_no_torch():
    code = (
        "import sys, automl.sampling.proposer, automl.sampling.mirror;"
        "assert 'torch' not in sys.modules;"
        "import automl.sampling.choice"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    only = "import sys, automl.sampling.choice; assert 'optuna' not in sys.modules"
    subprocess.run([sys.executable, "-c", only], check=True)


@pytest.mark.parametrize("sampler", STARTUP)
def test_whole_epochs_and_no_clipping_are_proposed_and_learnt_from(lab, sampler):
    """Whole numbers of a parameter that is no whole number, and a word among numbers."""
    space = parse_space(
        {
            "encoder": {"choice": ["small", "large"]},
            "learning_rate": {"float": [1e-4, 1e-2], "log": True},
            "pruning_ratio": 0.0,
            "warmup_epochs": {"int": [0, 3]},
            "clip_norm": {"choice": ["none", 0.5, 1.0]},
        }
    )
    proposer = lab.proposer(sampler, space=space)
    for number in range(24 if sampler == "gp" else 80):
        params = proposer.propose(number)
        assert params == space.complete(params) == space.restrict(params)
        assert isinstance(params["warmup_epochs"], float)
        assert canonical_json(params) == canonical_json(space.complete(params))
        lab.tell(proposer, lab.calls(number, params))
