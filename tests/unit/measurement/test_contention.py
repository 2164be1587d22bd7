import dataclasses
import math

import pytest

from automl.measurement.contention import Contention, Watch

QUIET = Contention(wall_s=2.0, cpu_s=1.99, waited_s=0.01, load=0.4)


def test_with_one_thread_wall_time_above_processor_time_was_waiting():
    busy = dataclasses.replace(QUIET, wall_s=3.0, cpu_s=2.0, load=2.25)
    assert busy.share(threads=1) == pytest.approx(0.5)
    assert busy.note(threads=1) == (
        "another process used these cores (load average 2.2): "
        "wall times are 50% above CPU times, compare CPU time"
    )


def test_with_more_threads_the_run_queues_tell():
    busy = dataclasses.replace(QUIET, cpu_s=4.0, waited_s=1.0, load=None)
    assert busy.share(threads=2) == pytest.approx(0.25)
    assert "waited for a core for 25% of their CPU time" in busy.note(threads=2)


@pytest.mark.parametrize("threads", [1, 2])
def test_quiet_cores_are_not_worth_a_word(threads):
    assert QUIET.note(threads) is None


@pytest.mark.parametrize("change", [{"waited_s": None}, {"cpu_s": 0.0}])
def test_what_cannot_be_known_is_not_told(change):
    unknown = dataclasses.replace(QUIET, **change)
    assert unknown.share(threads=2) is None
    assert unknown.note(threads=2) is None


def test_the_watch_sees_work():
    watch = Watch()
    math.fsum(range(300_000))
    seen = watch.read()
    assert seen.wall_s > 0
    assert seen.cpu_s > 0
