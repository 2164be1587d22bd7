from dataclasses import fields, replace

import numpy as np
import pytest

from automl.jobs import scoring
from automl.measurement.image_counts import ImageCounts
from automl.measurement.latency import LatencyStats
from automl.stages.measure import scored, timed


@pytest.fixture
def on_disk(study, candidate):
    """Make a study with two exported files, and their candidates."""

    def make(**sections):
        of = study(**sections)
        field = [candidate("trial1-fp32", 0.5, 1.0), candidate("trial2-fp32", 0.5, 1.0)]
        field = [replace(exported, measurements=()) for exported in field]
        for exported in field:
            artifact = of.folder.absolute(exported.artifact)
            artifact.parent.mkdir(parents=True)
            artifact.write_bytes(exported.candidate_id.encode())
        return of, field

    return make


@pytest.fixture
def opened(monkeypatch):
    """The files that were opened to be scored, and with how many threads."""
    seen = []

    def open_labeller(path, _runtime, _size, threads):
        seen.append((path.parent.name, threads))

    def counts_of(_session, images, masks, num_classes):
        assert num_classes == 2
        assert len(list(images)) == len(list(masks))
        return ImageCounts.of([np.array([[90, 10], [0, 0]])], 2)

    monkeypatch.setattr(scoring, "open_labeller", open_labeller)
    monkeypatch.setattr(scoring, "counts_of", counts_of)
    return seen


class FakeStopwatch:
    """Gives every file the same times, and notes which took turns, one list a timing."""

    def __init__(self):
        self.seen = []
        self.processor = "a processor"

    def cpu(self):
        return self.processor

    def time(self, artifacts, timing):
        assert timing.size == (32, 64)
        self.seen.append([path.parent.name for path in artifacts.values()])
        values = {"p50_ms": 4.0, "p95_ms": 9.0, "cpu_p50_ms": 3.0, "spread_ms": 0.5}
        values = {field.name: values.get(field.name, 0.25) for field in fields(LatencyStats)}
        return dict.fromkeys(artifacts, LatencyStats(**values))


@pytest.fixture
def watched(on_disk):
    """Make such a study whose backend has this stopwatch."""

    def make(**sections):
        of, field = on_disk(**sections)
        of.backend.watch = FakeStopwatch()
        return of, field

    return make


def test_a_file_is_scored_once_until_its_content_changes(on_disk, opened):
    of, (exported, _) = on_disk()
    first = scored(of, exported, "val")
    assert scored(of, exported, "val") == first
    assert opened == [("trial1-fp32", 2)]
    of.folder.absolute(exported.artifact).write_bytes(b"another network")
    scored(of, exported, "val")
    assert len(opened) == 2


def test_splits_are_scored_apart(on_disk, opened):
    of, (exported, _) = on_disk()
    both = scored(of, scored(of, exported, "val"), "test")
    assert len(opened) == 2
    assert both.value("miou", "val") is not None
    assert both.value("miou", "test") is not None


def test_scores_have_a_name_for_each_class_that_occurs(on_disk, opened):
    of, (exported, _) = on_disk()
    found = {m.metric: m.value for m in scored(of, exported, "val").measurements}
    assert found["pixel_accuracy"] == pytest.approx(0.9)
    assert found["iou.ground"] == pytest.approx(0.9)
    assert found["iou.crack"] == 0.0
    assert {"miou", "dice"} < set(found)


def test_all_files_are_timed_in_turn_and_once(watched):
    of, field = watched()
    first = timed(of, field)
    assert timed(of, field) == first
    assert of.backend.watch.seen == [["trial1-fp32", "trial2-fp32"]]


def test_another_processor_times_all_anew(watched):
    of, field = watched()
    timed(of, field)
    of.backend.watch.processor = "another"
    measured = timed(of, field)[0].measurements
    assert len(of.backend.watch.seen) == 2
    assert {m.device for m in measured} == {"cpu: another"}


def test_another_file_among_them_times_all_anew(watched):
    of, field = watched()
    timed(of, field[:1])
    timed(of, field)
    of.folder.absolute(field[0].artifact).write_bytes(b"another network")
    timed(of, field)
    assert [len(files) for files in of.backend.watch.seen] == [1, 2, 2]


@pytest.mark.parametrize(("threads", "expected"), [(1, 3.0), (2, 4.0)])
def test_latency_is_processor_time_for_one_thread_else_wall_time(watched, threads, expected):
    of, field = watched(target={"threads": threads})
    found = {m.metric: m for m in timed(of, field)[0].measurements}
    assert found["latency_ms"].value == expected
    assert found["latency_wall_p50_ms"].value == 4.0
    assert found["latency_wall_p95_ms"].value == 9.0
    assert {m.threads for m in found.values()} == {threads}
