"""The decision alone: what passes which gate, and which rungs are tried."""

import pytest

from automl.compression.ladder import (
    Measured,
    Quality,
    Rung,
    Speed,
    climb,
    conclusion,
    judge,
)
from automl.measurement.latency import LatencyStats
from automl.space.compression import Int8Settings

BEFORE = Quality(miou=0.6, iou={"road": 0.9, "sign": 0.3})


def stats(ms):
    return LatencyStats(
        p50_ms=2 * ms, p95_ms=ms, p99_ms=ms, cpu_p50_ms=ms, spread_ms=0.0, cpu_spread_ms=0.0
    )


def rung(miou=0.6, iou=None, ratio=1.5, size_mb=0.5, name="per_channel", **settings):
    measured = Measured(
        float_quality=BEFORE,
        float_size_mb=2.0,
        quality=Quality(miou=miou, iou=BEFORE.iou if iou is None else iou),
        speed=Speed.of(stats(6.0 * ratio), stats(6.0), threads=1),
        size_mb=size_mb,
        recipe={},
    )
    return judge(name, measured, Int8Settings(**settings))


def test_accurate_and_faster_is_accepted():
    assert rung().outcome == "accepted"
    assert rung().reason == "50 % faster than FP32"
    assert rung(miou=0.5951).outcome == "accepted", "within the drop"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"miou": 0.594}, "loses 0.0060 of the mIoU (at most 0.005)"),
        ({"iou": {"road": 0.9, "sign": 0.27}}, "loses 0.0300 of sign (at most 0.02)"),
        ({"iou": {"road": 0.9}}, "loses 0.3000 of sign"),
        ({"miou": 0.594, "max_drop": 0.001}, "(at most 0.001)"),
    ],
)
def test_a_file_that_loses_accuracy_is_refused_however_fast_and_small(changes, word):
    found = rung(ratio=4.0, size_mb=0.1, **changes)
    assert found.outcome == "refused"
    assert word in found.reason


def test_a_slower_file_is_not_chosen_as_faster():
    slower = rung(ratio=0.96)
    assert slower.outcome == "smaller"
    assert slower.reason == (
        "4 % slower than FP32 (at least 1.05 x the speed is needed); "
        "kept because it is 75 % smaller"
    )
    assert rung(ratio=0.96, allow_slower_if_smaller=False).outcome == "refused"
    assert rung(ratio=0.96, size_mb=2.5).outcome == "refused", "neither faster nor smaller"


@pytest.mark.parametrize(("ratio", "outcome"), [(1.049, "smaller"), (1.051, "accepted")])
def test_what_may_be_noise_is_not_faster(ratio, outcome):
    assert rung(ratio=ratio).outcome == outcome


def test_with_several_threads_wall_time_decides():
    speed = Speed.of(stats(3.0), stats(2.0), threads=2)
    assert (speed.float_ms, speed.int8_ms) == (6.0, 4.0)


def climbed(outcomes, layouts=None, **settings):
    """The rungs that are tried where each name has this (outcome, ratio)."""
    seen = []

    def attempt(name):
        seen.append(name)
        outcome, ratio = outcomes[name]
        speed = Speed.of(stats(ratio), stats(1.0), threads=1)
        return Rung(name=name, outcome=outcome, reason="so", speed=speed)

    same = dict.fromkeys(outcomes, "one") if layouts is None else layouts
    _, kept = climb(list(outcomes), attempt, Int8Settings(**settings), layouts=same)
    return seen, None if kept is None else kept.name


def test_the_first_rung_that_passes_both_gates_wins():
    outcomes = {"a": ("refused", 2.0), "b": ("accepted", 2.0), "c": ("accepted", 3.0)}
    assert climbed(outcomes) == (["a", "b"], "b")


def test_where_no_rung_passes_the_network_stays_in_float():
    outcomes = {"a": ("refused", 2.0), "b": ("refused", 2.0)}
    assert climbed(outcomes) == (["a", "b"], None)


def test_after_an_accurate_but_slow_rung_others_of_its_layout_are_not_tried():
    outcomes = {"a": ("smaller", 0.9), "b": ("accepted", 2.0), "c": ("accepted", 2.0)}
    assert climbed(outcomes) == (["a"], "a")
    layouts = {"a": "one", "b": "one", "c": "two"}
    assert climbed(outcomes, layouts) == (["a", "c"], "c"), "another layout may be faster"


def test_a_slow_and_inaccurate_rung_is_followed_by_others_only_for_the_sake_of_size():
    outcomes = {"a": ("refused", 0.9), "b": ("smaller", 0.9)}
    assert climbed(outcomes) == (["a", "b"], "b")
    assert climbed(outcomes, allow_slower_if_smaller=False) == (["a"], None)


def test_the_verdict_names_every_rung_that_was_refused():
    tried = [rung(ratio=0.5, size_mb=3.0, name="a"), rung(miou=0.1, name="b")]
    text = conclusion(tried, None)
    assert text.startswith("int8 refused: a: 50 % slower than FP32 (at least 1.05 x")
    assert "b: loses 0.5000 of the mIoU" in text
    assert conclusion(tried, rung(name="c")) == "int8 accepted, c: 50 % faster than FP32"
