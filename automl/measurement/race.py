"""Find the fastest of a few ways to do the same, in little time.

All take turns, round by round, so that what else happens on the machine hits all alike, and the
least time of each counts, since other programs only ever add to it. One that is far behind after a
round is timed no more. The first one is the way that is taken where nothing speaks against it:
another must be faster by a margin, or noise would choose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

#: Below a difference of about 10 % times of a busy machine are a tie (`measurement/latency.py`).
MARGIN = 0.1
#: One that takes so many times as long as the fastest needs no second look.
FAR_BEHIND = 1.3


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceResult:
    """The name of the winner, and the least seconds of each."""

    winner: str
    seconds: Mapping[str, float]


def same(value: T) -> T:
    """How one process agrees with itself."""
    return value


def race(
    runs: Mapping[str, Callable[[], float]],
    *,
    rounds: int,
    agree: Callable[[float], float] = same,
) -> RaceResult:
    """Have each of `runs` work once a round and say how many seconds it took.

    Each first works once untimed. Processes that race together, and must do so in step, `agree`
    on each time. Raises ValueError without runs or rounds.
    """
    if not runs or rounds < 1:
        raise ValueError(f"a race needs a run and a round, got {len(runs)} and {rounds}")
    first = next(iter(runs))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    racing = list(runs)
    for name in racing:
        runs[name]()
    for number in range(rounds):
        # What comes first in a round meets colder caches.
        for name in racing if number % 2 == 0 else reversed(racing):
            seconds[name].append(agree(runs[name]()))
        least = {name: min(times) for name, times in seconds.items()}
        best = min(least.values())
        racing = [name for name in racing if name == first or least[name] <= FAR_BEHIND * best]
    fastest = min(racing, key=least.__getitem__)
    is_clear = least[fastest] < (1 - MARGIN) * least[first]
    return RaceResult(winner=fastest if is_clear else first, seconds=least)
