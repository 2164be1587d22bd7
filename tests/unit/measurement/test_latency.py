import math
import threading

import pytest

from automl.measurement.latency import process_clock, thread_clock, time_interleaved


class FakeMachine:
    """Runs cost what is told; the clock moves with them."""

    def __init__(self, wall_ms, cpu_ms=None):
        self.wall_ms = wall_ms
        self.cpu_ms = wall_ms if cpu_ms is None else cpu_ms
        self.calls = []
        self.now = [100.0, 50.0]

    def run(self, name):
        def call():
            self.calls.append(name)
            occurrence = self.calls.count(name) - 1
            for axis, costs in enumerate((self.wall_ms, self.cpu_ms)):
                self.now[axis] += costs[name][occurrence % len(costs[name])] / 1e3

        return call

    def clock(self):
        return tuple(self.now)

    def time(self, *, rounds, warmup=0, seed=0):
        runs = {name: self.run(name) for name in self.wall_ms}
        return time_interleaved(runs, rounds=rounds, warmup=warmup, seed=seed, clock=self.clock)


def test_first_call_of_each_pair_is_discarded():
    stats = FakeMachine({"a": [900.0, 7.0]}).time(rounds=5)["a"]
    assert stats.p50_ms == pytest.approx(7.0)
    assert stats.p95_ms == pytest.approx(7.0)
    assert stats.cpu_p50_ms == pytest.approx(7.0)
    assert stats.spread_ms == pytest.approx(0.0, abs=1e-9)


def test_statistics_are_quantiles_of_the_timed_calls():
    timed = [10.0, 20.0, 30.0, 40.0, 50.0]
    wall = [value for kept in timed for value in (1e3, kept)]
    cpu = [value for kept in timed for value in (1e3, kept / 10)]
    stats = FakeMachine({"a": wall}, {"a": cpu}).time(rounds=5)["a"]
    assert stats.p50_ms == pytest.approx(30.0)
    assert stats.p95_ms == pytest.approx(48.0)
    assert stats.p99_ms == pytest.approx(49.6)
    assert stats.spread_ms == pytest.approx(20.0)
    assert stats.cpu_p50_ms == pytest.approx(3.0)
    assert stats.cpu_spread_ms == pytest.approx(2.0)


def test_every_round_runs_each_alternative_twice_in_a_row_in_changing_order():
    machine = FakeMachine({name: [1.0] for name in "abc"})
    machine.time(rounds=20, warmup=3, seed=1)
    assert machine.calls[:9] == list("aaabbbccc")
    timed = machine.calls[9:]
    rounds = ["".join(timed[start : start + 6]) for start in range(0, len(timed), 6)]
    assert len(rounds) == 20
    assert all(sorted((r[0:2], r[2:4], r[4:6])) == ["aa", "bb", "cc"] for r in rounds)
    assert len(set(rounds)) > 3


def test_order_depends_on_the_seed_alone():
    def calls(seed):
        machine = FakeMachine({name: [1.0] for name in "abcd"})
        machine.time(rounds=10, seed=seed)
        return machine.calls

    assert calls(1) == calls(1)
    assert calls(1) != calls(2)


@pytest.mark.parametrize(("names", "rounds", "warmup"), [("", 5, 1), ("a", 0, 1), ("a", 5, -1)])
def test_impossible_settings_are_refused(names, rounds, warmup):
    with pytest.raises(ValueError, match=f"got {len(names)}, {rounds} and {warmup}"):
        FakeMachine({name: [1.0] for name in names}).time(rounds=rounds, warmup=warmup)


def work_in_another_thread():
    worker = threading.Thread(target=math.fsum, args=[range(1_000_000)])
    worker.start()
    worker.join()


def spent(call, clock):
    start = clock()
    call()
    return [end - begin for end, begin in zip(clock(), start, strict=True)]


def test_processor_time_is_of_the_calling_thread_alone():
    wall_s, cpu_s = spent(work_in_another_thread, thread_clock)
    assert cpu_s < wall_s / 2


def test_processor_time_of_the_process_holds_that_of_its_other_threads():
    def both():
        return spent(lambda: spent(work_in_another_thread, thread_clock), process_clock)

    assert both()[1] > 10 * spent(work_in_another_thread, thread_clock)[1]


def test_real_clock_tells_ten_times_the_work_apart():
    def work(size):
        return lambda: math.fsum(range(size))

    stats = time_interleaved(
        {"light": work(2_000), "heavy": work(20_000)}, rounds=15, warmup=1, seed=0
    )
    assert 3 < stats["heavy"].cpu_p50_ms / stats["light"].cpu_p50_ms < 30
    assert stats["heavy"].p95_ms >= stats["heavy"].p50_ms > 0
