from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from automl.records import Measurement
from automl.stages import rank as stage
from automl.stages.rank import _ranking, rank


@pytest.fixture
def field(candidate):
    """The default, a faster one, a slower and better one, and one that is beaten."""
    return [
        candidate("default", 0.60, 10.0, trial=0),
        candidate("fast", 0.595, 5.0),
        candidate("large", 0.70, 40.0, size_mb=9.0),
        candidate("beaten", 0.55, 12.0),
    ]


def test_the_front_is_what_nothing_beats_from_fast_to_slow(study, field):
    ranking = _ranking(study(), field)
    assert [c.candidate_id for c in ranking.front] == ["fast", "default", "large"]
    assert ranking.standing.default == "default"
    assert ranking.candidates == tuple(field)


@pytest.mark.parametrize(
    ("share", "best"), [(1.0, "large"), (0.98, "large"), (0.853, "default"), (0.85, "fast")]
)
def test_the_best_is_the_fastest_with_enough_of_the_highest_accuracy(study, field, share, best):
    assert _ranking(study(export={"best_accuracy_share": share}), field).standing.best == best


@pytest.mark.parametrize(("share", "smallest"), [(0.98, "large"), (0.85, "int8"), (0.5, "weak")])
def test_the_smallest_is_as_accurate_as_the_best_must_be(study, field, candidate, share, smallest):
    """It need not be on the front: INT8 may be small and slow."""
    small = [
        candidate("int8", 0.60, 50.0, size_mb=0.5),
        candidate("weak", 0.40, 55.0, size_mb=0.25),
        candidate("excluded", 0.70, 500.0, size_mb=0.1),
    ]
    of = study(export={"best_accuracy_share": share}, constraints={"latency_ms": 100})
    ranking = _ranking(of, [*field, *small])
    assert ranking.standing.smallest == smallest
    assert (smallest in ranking.standing.front) == (smallest == "large")


def test_int8_that_is_kept_for_its_size_is_smallest_and_never_on_the_front(study, field, candidate):
    """It seems better by a little on val: that is noise, and it is no faster."""
    twin = replace(
        candidate("large-int8", 0.71, 42.0, precision="int8", size_mb=0.5), for_size_alone=True
    )
    standing = _ranking(study(), [*field, twin]).standing
    assert "large-int8" not in standing.front
    assert standing.smallest == "large-int8"
    by_size = study(objectives={"miou": "maximize", "size_mb": "minimize"})
    assert "large-int8" in _ranking(by_size, [*field, twin]).standing.front
    assert _ranking(study(), [twin]).standing.front == {"large-int8"}, "there is nothing else"


def test_constraints_exclude_from_front_and_best_but_not_from_the_table(study, field):
    ranking = _ranking(study(constraints={"size_mb": 5, "latency_ms": 11}), field)
    assert [c.candidate_id for c in ranking.front] == ["fast", "default"]
    assert ranking.standing.best == "fast"
    assert len(ranking.candidates) == 4
    assert ranking.reference == (0.0, 11.0), "a declared bound is the reference"


def test_a_candidate_exactly_at_its_bound_is_eligible(study, field):
    ranking = _ranking(study(constraints={"latency_ms": 5}), field)
    assert [c.candidate_id for c in ranking.front] == ["fast"]
    assert ranking.standing.knee == ranking.standing.best == "fast"


def test_the_default_is_named_even_where_it_breaks_a_constraint(study, field):
    assert _ranking(study(constraints={"latency_ms": 6}), field).standing.default == "default"


def test_where_no_candidate_keeps_the_constraints_all_are_ranked_and_each_miss_is_told(
    study, field
):
    """Timed again, a network at its bound may miss it: the search must not have been in vain."""
    of = study(constraints={"latency_ms": 4.5, "size_mb": 1})
    ranking = _ranking(of, field)
    assert [c.candidate_id for c in ranking.front] == ["fast", "default", "large"]
    text = "\n".join(of.narrator.lines)
    assert "no exported file keeps the constraints" in text
    assert "fast: size_mb exceeds its bound by 1, latency_ms exceeds its bound by 0.5" in text
    assert text.count("exceeds") == 8


def test_the_default_is_the_float_export_of_trial_0_alone(study, candidate):
    others = [
        candidate("trial10-fp32", 0.9, 1.0, trial=10),
        candidate("trial0-int8", 0.5, 2.0, trial=0, precision="int8"),
        candidate("trial0-student1-fp32", 0.5, 2.0, trial=0, kind="student"),
    ]
    assert _ranking(study(), others).standing.default is None
    default = candidate("trial0-fp32", 0.5, 3.0, trial=0)
    assert _ranking(study(), [*others, default]).standing.default == "trial0-fp32"


def test_the_hypervolume_is_the_area_between_front_and_reference(study, candidate):
    two = [candidate("a", 0.5, 1.0), candidate("b", 0.8, 4.0)]
    ranking = _ranking(study(), two)
    assert ranking.reference == (0.0, 4.0)
    assert ranking.hypervolume == pytest.approx(0.5 * 3.0)


def test_a_candidate_that_others_beat_leaves_the_hypervolume_as_it_was(study, candidate):
    default = candidate("trial0-fp32", 0.5, 3.0, trial=0)
    front = [default, candidate("a", 0.6, 5.0), candidate("b", 0.4, 1.0)]
    ranking = _ranking(study(), front)
    assert ranking.reference == (0.0, 6.0), "twice the default's cost"
    more = _ranking(study(), [*front, candidate("slow", 0.1, 80.0)])
    assert (more.reference, more.hypervolume) == (ranking.reference, ranking.hypervolume)


def test_other_objectives_make_another_front(study, candidate):
    field = [
        candidate("light", 0.5, 20.0, size_mb=1.0),
        candidate("quick", 0.5, 1.0, size_mb=3.0),
    ]
    of = study(objectives={"miou": "maximize", "size_mb": "minimize"})
    assert [c.candidate_id for c in _ranking(of, field).front] == ["light"]


def test_test_is_scored_for_the_finalists_alone(study, field, monkeypatch):
    seen = []

    def scored(_study, candidate, split):
        seen.append((candidate.candidate_id, split))
        extra = (Measurement(metric="miou", value=0.25, split="test"),) if split == "test" else ()
        return replace(candidate, measurements=candidate.measurements + extra)

    monkeypatch.setattr(stage, "scored", scored)
    monkeypatch.setattr(stage, "timed", lambda _study, candidates: candidates)
    of = study(constraints={"latency_ms": 9})
    ranking = rank(of, field)
    assert [name for name, split in seen if split == "val"] == [c.candidate_id for c in field]
    assert sorted(name for name, split in seen if split == "test") == ["default", "fast"]
    assert ranking.candidate("fast").value("miou", "test") == 0.25
    assert ranking.candidate("fast").value("miou", "val") == 0.595
    assert ranking.candidate("large").value("miou", "test") is None
    assert ranking.candidate(None) is None
    rows = pq.read_table(of.folder.candidates_table).to_pylist()
    assert {row["candidate_id"] for row in rows if row["on_front"]} == {"fast"}
    assert of.narrator.lines[-1] == "rank: scoring 2 finalists on test"


def test_without_a_default_only_the_front_is_scored_on_test(study, candidate, monkeypatch):
    seen = []

    def scored(_study, candidate, split):
        seen.append((candidate.candidate_id, split))
        return candidate

    monkeypatch.setattr(stage, "scored", scored)
    monkeypatch.setattr(stage, "timed", lambda _study, candidates: candidates)
    rank(study(), [candidate("a", 0.5, 1.0), candidate("b", 0.4, 2.0)])
    assert [name for name, split in seen if split == "test"] == ["a"]
