"""Whether smaller forms are faster is settled by the timings of the ranking."""

from dataclasses import replace

import pytest

from automl.space.compression import CompressSettings
from automl.stages.rank import _ranking
from automl.stages.ranked_pace import ranked_speed, settled


@pytest.fixture
def twins(candidate):
    """A network in FP32, and in INT8 at a latency."""

    def make(int8_ms, *, told=False):
        form = candidate("trial4-int8", 0.71, int8_ms, precision="int8", size_mb=0.5)
        return [candidate("trial4-fp32", 0.7, 10.0), replace(form, for_size_alone=told)]

    return make


@pytest.fixture
def pruned(candidate):
    """A teacher, and its pruned student at a latency."""

    def make(student_ms, *, told=False):
        plain = candidate("trial4-student1-fp32", 0.7, student_ms, kind="student")
        lineage = replace(plain.lineage, teacher="trial4-fp32", recipe={"pruning": "told before"})
        student = replace(plain, lineage=lineage, for_size_alone=told)
        return [candidate("trial4-fp32", 0.7, 10.0), student]

    return make


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize(("ms", "alone"), [(9.0, False), (9.6, True), (12.0, True)])
@pytest.mark.parametrize("pair", ["twins", "pruned"])
def test_the_ranking_has_the_last_word_on_what_is_faster(request, pair, ms, alone, told):
    whole, small = settled(CompressSettings(), request.getfixturevalue(pair)(ms, told=told))
    assert (whole.for_size_alone, small.for_size_alone) == (False, alone)
    assert ranked_speed(small, [whole, small]) == pytest.approx(10 / ms)
    assert ranked_speed(whole, [whole, small]) is None


def test_the_gates_of_the_experiment_count(twins, pruned):
    strict = CompressSettings.model_validate_json(
        '{"int8": {"min_speedup": 1.5}, "min_pruning_speedup": 2}'
    )
    for pair in (twins(8.0), pruned(8.0)):
        assert settled(strict, pair)[1].for_size_alone


@pytest.mark.parametrize("told", [False, True])
def test_what_cannot_be_compared_stays_as_it_was(twins, told):
    form = twins(5.0, told=told)[1]
    assert settled(CompressSettings(), [form]) == [form]


@pytest.mark.parametrize("allowed", [False, True])
def test_int8_that_the_ranking_finds_slow_is_smallest_only_where_its_size_may_ship_it(
    study, twins, allowed
):
    of = study(compress={"int8": {"allow_slower_if_smaller": allowed}})
    ranking = _ranking(of, settled(of.experiment.compress, twins(12.0)))
    smallest = "trial4-int8" if allowed else "trial4-fp32"
    assert ranking.standing.smallest == smallest
    assert ranking.standing.front == {"trial4-fp32"}
