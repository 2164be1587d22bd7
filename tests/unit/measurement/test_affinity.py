import os

import pytest

from automl.measurement.affinity import core_order, pinned, usable_cores

needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system cannot keep processes on cores"
)


@needs_affinity
def test_the_thread_is_kept_on_as_many_cores_and_gets_its_former_ones_back():
    before = os.sched_getaffinity(0)
    with pinned(1) as cores:
        assert os.sched_getaffinity(0) == set(cores)
        assert len(cores) == 1
    assert os.sched_getaffinity(0) == before


@needs_affinity
def test_cores_are_given_back_after_a_fault():
    before = os.sched_getaffinity(0)
    with pytest.raises(ZeroDivisionError), pinned(1):
        _ = 1 / 0
    assert os.sched_getaffinity(0) == before


def test_more_cores_than_there_are_pins_nothing():
    with pinned(usable_cores() + 1) as cores:
        assert cores == ()


def test_whole_cores_come_before_second_threads_and_the_first_core_last():
    assert core_order({0, 1, 2, 3}, lambda core: "0-1" if core < 2 else "2-3") == [3, 1, 2, 0]
    assert core_order({0, 1, 2}, lambda _: "") == [2, 1, 0]
