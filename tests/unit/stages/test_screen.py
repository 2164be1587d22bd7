import json
from dataclasses import replace

import pytest

from automl.backend import JobFault
from automl.jobs.screening import ScreeningOutcome, architecture_of
from automl.records import Measurement
from automl.space.screening import PROXY_NAMES, ScreenSettings
from automl.stages import screen as stage
from automl.stages.screen import ScreenedPoint, choose, draw_pool, screen, screen_networks
from automl.stages.search import search
from automl.store.journal import Journal

SPACE = {
    "decoder_width": {"int": [16, 128], "step": 16, "default": 64},
    "decoder": {"choice": ["fpn_lite", "fpn"]},
    "pruning_ratio": {"float": [0.0, 0.5], "when": {"decoder": ["fpn"]}},
    "alpha": {"float": [0.0, 1.0], "default": 0.5},
}


def outcome(score, latency_ms, *, fault=None):
    costs = (Measurement(metric="latency_ms", value=latency_ms),)
    scores = None if fault else dict.fromkeys(PROXY_NAMES, 0.0) | {"naswot": score}
    return ScreeningOutcome(costs=costs, scores=scores, fault=fault)


def by_width(job):
    """Wider is slower; the score is the width's place on a zigzag."""
    width = job.config.params["decoder_width"]
    return outcome(width % 48, width / 10)


@pytest.fixture(autouse=True)
def referenced(monkeypatch):
    """How often the reference was prepared."""
    prepared = []
    monkeypatch.setattr(stage, "prepare_reference", prepared.append)
    return prepared


@pytest.fixture
def screened(study, backend_of):
    """A study whose pool is scored by a function of the job."""

    def make(answers=by_width, space=SPACE, objectives=None, **search):
        sections = {} if objectives is None else {"objectives": objectives}
        of = study(
            space=space,
            search={"screen": {"pool": 8, "keep": 2, "proxy": "naswot"}, **search},
            **sections,
        )
        return replace(of, backend=backend_of(answers))

    return make


# ---------------------------------------------------------------------- the pool


def test_a_pool_is_drawn_by_seed_and_has_distinct_architectures(screened):
    experiment = screened(seed=3).experiment
    pool = draw_pool(experiment, 12)
    assert len(pool) == 12
    assert draw_pool(experiment, 12) == pool
    assert draw_pool(experiment, 5) == pool[:5]
    assert draw_pool(screened(seed=4).experiment, 12) != pool
    assert len({architecture_of(params) for params in pool}) == 12
    for params in pool:
        assert experiment.space.restrict(params) == params
        assert ("pruning_ratio" in params) == (params["decoder"] == "fpn")


def test_a_pool_leaves_out_what_is_tried_anyway_and_may_be_smaller_than_asked(screened):
    space = {"decoder_width": {"choice": [16, 24, 32, 40]}, "alpha": {"float": [0.0, 1.0]}}
    of = screened(space=space, points=[{"decoder_width": 40, "alpha": 0.3}])
    pool = draw_pool(of.experiment, 8)
    assert sorted(params["decoder_width"] for params in pool) == [24, 32]


def test_configurations_with_one_architecture_are_scored_once(screened):
    of = screened()
    narrow, wide = {"decoder_width": 16}, {"decoder_width": 32}
    outcomes = screen_networks(of, [narrow, wide, {**narrow, "alpha": 0.1}])
    assert [job.config.params for job in of.backend.jobs] == [narrow, wide]
    assert outcomes[0] == outcomes[2] != outcomes[1]


# ---------------------------------------------------------------------- the choice


def pool_of(*pairs):
    return [
        ScreenedPoint(params={"alpha": number / 10}, outcome=answer)
        for number, answer in enumerate(pairs)
    ]


def chosen(pool, keep, *, cost="latency_ms"):
    marked = choose(pool, ScreenSettings(pool=32, keep=keep, proxy="naswot"), cost=cost)
    assert [replace(point, chosen=False) for point in marked] == pool
    return [index for index, point in enumerate(marked) if point.chosen]


def test_the_best_of_each_part_of_the_latencies_is_chosen():
    pool = pool_of(
        outcome(9, 8.0),
        outcome(1, 1.0),
        outcome(8, 7.0),
        outcome(2, 2.0),
        outcome(7, 6.0),
        outcome(3, 3.0),
    )
    assert chosen(pool, 2) == [0, 5]
    assert chosen(pool, 3) == [0, 3, 4]
    assert chosen(pool, 1) == [0]


def test_without_a_cost_among_the_objectives_the_best_of_all_are_chosen():
    pool = pool_of(outcome(1, 1.0), outcome(9, 8.0), outcome(8, 7.0))
    assert chosen(pool, 2, cost=None) == [1, 2]


def test_what_has_no_score_is_never_chosen():
    pool = pool_of(outcome(1, 1.0), outcome(9, 8.0, fault="infeasible: latency_ms"))
    assert chosen(pool, 2) == [0]
    assert chosen(pool[1:], 1) == []


def test_of_equal_scores_the_first_drawn_is_chosen():
    pool = pool_of(*(outcome(1, 5.0 - n) for n in range(4)))
    assert chosen(pool, 2) == [0, 2]


# ---------------------------------------------------------------------- the stage


def test_without_a_pre_screen_nothing_is_scored(study):
    of = study(search={"screen": "off"})
    assert screen(of) == ()
    assert not of.folder.screening_file.exists()


def test_the_chosen_are_returned_recorded_and_told(screened, referenced):
    of = screened()
    points = screen(of)
    assert len(points) == 2
    assert [job.config.params for job in of.backend.jobs] == draw_pool(of.experiment, 8)
    assert {job.config.seed for job in of.backend.jobs} == {0}
    assert len(referenced) == 1
    kept = json.loads(of.folder.screening_file.read_text())
    assert kept["proxy"] == "naswot"
    assert [point["params"] for point in kept["pool"] if point["chosen"]] == list(points)
    assert len(kept["pool"]) == 8
    told = of.narrator.lines
    assert told[0] == "screen: scoring 8 untrained networks by naswot"
    assert sum(line.startswith("screen: chosen: ") for line in told) == 2


def test_a_second_run_reads_what_the_first_chose(screened):
    first = screen(screened())
    again = screened(answers=lambda _job: pytest.fail("scored again"))
    assert screen(again) == first


def test_a_single_objective_has_no_cost_to_spread_over(screened):
    points = screen(screened(objectives={"miou": "maximize"}))
    pool = draw_pool(screened().experiment, 8)
    best = sorted((p["decoder_width"] % 48 for p in pool), reverse=True)[:2]
    assert sorted((p["decoder_width"] % 48 for p in points), reverse=True) == best


def test_faults_cost_only_their_own_networks_and_are_told(screened):
    def answer(job):
        if job.config.number == 0:
            return JobFault(reason="the worker died")
        if job.config.number in (1, 2):
            return outcome(99, 1.0, fault="infeasible: size_mb")
        return by_width(job)

    of = screened(answers=answer)
    points = screen(of)
    pool = draw_pool(of.experiment, 8)
    assert len(points) == 2
    assert not any(point in pool[:3] for point in points)
    assert "screen: 1 left out: the worker died" in of.narrator.lines
    assert "screen: 2 left out: infeasible: size_mb" in of.narrator.lines


def test_where_all_are_infeasible_nothing_is_chosen(screened):
    of = screened(answers=lambda _job: outcome(1, 1.0, fault="infeasible: size_mb"))
    assert screen(of) == ()
    assert "screen: none can be tried" in of.narrator.lines


def test_a_search_tries_the_default_the_users_points_then_the_chosen(screened, monkeypatch):
    monkeypatch.setattr("automl.stages.search.prepare_reference", lambda _context: None)
    of = screened(points=[{"alpha": 0.125}], trials=5)
    tried = []

    def run_trials(conductor, _context, _say):
        while (config := conductor.next_trial()) is not None:
            tried.append(dict(config.params))
        raise KeyboardInterrupt

    of.backend.run_trials = run_trials
    with Journal(of.folder.journal_file) as journal, pytest.raises(KeyboardInterrupt):
        search(of, journal, clock=lambda: 0.0)
    points = screen(of)
    space = of.experiment.space
    assert tried[:4] == [space.default(), space.complete({"alpha": 0.125}), *points]
    assert len(tried) == 5
