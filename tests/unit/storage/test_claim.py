"""One writer at a time, without locks: a claim, signs of life, and a minute of silence."""

from dataclasses import replace

import pytest

from automl.errors import UsageError
from automl.storage.claim import Times, claimed, writer_here
from automl.storage.objects import MemoryObjects, UnreachableError

HERE = writer_here()
ELSEWHERE = replace(HERE, host="worker-7", pid=4711, machine="another", since="2026-01-01T00:00Z")


class Hooked(MemoryObjects):
    """Does something each time that the claims are listed."""

    hook = staticmethod(lambda: None)

    def entries(self, prefix):
        self.hook()
        return super().entries(prefix)


@pytest.fixture
def time(new_time):
    return new_time()


@pytest.fixture
def objects(time):
    return Hooked(clock=time)


def hold(store_of, objects, time, writer=HERE, told=None):
    times = Times(beat_s=15, void_s=60, clock=time, sleep=time.sleep)
    tell = (lambda line: None) if told is None else told.append
    return claimed(store_of(objects), writer, times, tell=tell)


def test_a_claim_is_let_go_at_its_end(store_of, objects, time):
    with hold(store_of, objects, time):
        assert len(objects.contents) == 1
    assert objects.contents == {}
    with hold(store_of, objects, time, ELSEWHERE):
        pass


def test_the_second_writer_is_told_of_the_first(store_of, objects, time):
    with hold(store_of, objects, time, ELSEWHERE) as first:
        objects.hook = lambda: time.now % 5 < 1 and first.beat(objects)
        told = []
        with (
            pytest.raises(UsageError) as fault,
            hold(store_of, objects, time, told=told),
        ):
            pytest.fail("two hold one study")
        assert "another search is running on this study: pid 4711 on worker-7, since 2026" in str(
            fault.value
        )
        assert len(told) == 1
        assert "waiting" in told[0]
        assert list(objects.contents) == [first.key], "the second leaves nothing behind"
        first.check()


def test_a_dead_process_of_this_machine_holds_nothing(store_of, objects, time):
    gone = replace(HERE, pid=2**22 + 1)
    with hold(store_of, objects, time, gone):
        before, told = time.now, []
        with hold(store_of, objects, time, told=told) as second:
            assert list(objects.contents) == [second.key]
        assert time.now - before < 5
        assert told == []


def test_a_minute_of_silence_voids_a_claim_of_another_machine(store_of, objects, time):
    with hold(store_of, objects, time, ELSEWHERE) as first:
        before = time.now
        with hold(store_of, objects, time) as second:
            assert 60 < time.now - before < 65
            with pytest.raises(UnreachableError, match="lost the study to another writer"):
                first.check()
            second.check()


def test_one_that_comes_back_to_life_does_not_take_the_study_back(store_of, objects, time):
    with hold(store_of, objects, time, ELSEWHERE) as first, hold(store_of, objects, time) as second:
        first.beat(objects)  # it was stopped in the middle of one
        time.sleep(31)
        with pytest.raises(UnreachableError, match="lost the study"):
            first.check()
        assert second.holds


def test_who_only_waits_does_not_take_a_study_from_its_holder(store_of, objects, time):
    with hold(store_of, objects, time, ELSEWHERE) as first:
        held = []

        def come_back():
            if not held and time.now > before + 40:
                objects.hook = lambda: None
                held.append(first.check())

        before = time.now
        objects.hook = come_back
        with pytest.raises(UsageError, match="another search"), hold(store_of, objects, time):
            pytest.fail("two hold one study")
        assert held == [None]


def test_of_two_at_once_not_both_hold(store_of, objects, time):
    """The second comes between the claim of the first and its look at the others."""
    outcomes = []

    def second():
        objects.hook = lambda: None
        with pytest.raises(UsageError), hold(store_of, objects, time):
            outcomes.append("second")

    objects.hook = second
    # The first shows signs of life while the second waits: its claim is written anew as it waits.
    first = hold(store_of, objects, time, ELSEWHERE)
    beats = iter(range(1000))
    original = time.sleep

    def sleep(seconds):
        original(seconds)
        key = next(k for k, (content, _) in objects.contents.items() if b"worker-7" in content)
        if next(beats) == 3:
            objects.write(key, iter([objects.contents[key][0]]))

    time.sleep = sleep
    with first:
        outcomes.append("first")
    assert outcomes == ["first"]


def test_one_that_is_taken_for_dead_while_it_waits_claims_again(store_of, objects, time):
    with hold(store_of, objects, time, ELSEWHERE) as first:

        def void_who_waits():
            if time.now > before + 20:
                objects.hook = lambda: None
                for key in set(objects.contents) - {first.key}:
                    del objects.contents[key]

        before = time.now
        objects.hook = void_who_waits
        with hold(store_of, objects, time) as second:
            assert list(objects.contents) == [second.key]
