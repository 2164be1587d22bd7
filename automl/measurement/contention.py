"""Whether other processes used the cores while something was timed.

The wall time of a process that computes with one thread is above its processor time by what it
waited for a core. With more threads that cannot be told from the two; the run queues, in which
threads wait that want to run, tell it on Linux, which counts the time spent there.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

#: Shares of the processor time below which waiting is not worth a word.
NOTABLE = 0.05

_TASKS = Path("/proc/self/task")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contention:
    """What happened meanwhile: seconds, all threads of the process added up.

    `waited_s` is the time in run queues; None where the system does not count it. `load` is the
    number of threads that wanted to run on the whole machine, averaged over a minute, or None.
    """

    wall_s: float
    cpu_s: float
    waited_s: float | None
    load: float | None

    def share(self, threads: int) -> float | None:
        """What was waited for cores as a share of the processor time; None where unknown."""
        if self.cpu_s <= 0:
            return None
        if threads == 1:
            return self.wall_s / self.cpu_s - 1
        return None if self.waited_s is None else self.waited_s / self.cpu_s

    def note(self, threads: int) -> str | None:
        """What to tell people of it, if anything."""
        share = self.share(threads)
        if share is None or share < NOTABLE:
            return None
        load = "" if self.load is None else f" (load average {self.load:.1f})"
        told = (
            f"wall times are {share:.0%} above CPU times"
            if threads == 1
            else f"threads waited for a core for {share:.0%} of their CPU time"
        )
        return f"another process used these cores{load}: {told}, compare CPU time"


class Watch:
    """Counts from its making on; `read` tells what happened since."""

    def __init__(self) -> None:
        self._start = _now()

    def read(self) -> Contention:
        """What happened since the making."""
        (wall, cpu, waited), (wall_0, cpu_0, waited_0) = _now(), self._start
        return Contention(
            wall_s=wall - wall_0,
            cpu_s=cpu - cpu_0,
            waited_s=None if waited is None or waited_0 is None else max(0.0, waited - waited_0),
            load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        )


def _now() -> tuple[float, float, float | None]:
    return time.perf_counter(), time.process_time(), _waited_s()


def _waited_s() -> float | None:
    """Seconds that the living threads of this process waited in run queues.

    Source: Linux, Documentation/scheduler/sched-stats.rst, /proc/<pid>/schedstat.
    """
    try:
        tasks = [task / "schedstat" for task in _TASKS.iterdir()]
        return sum(int(task.read_text(encoding="ascii").split()[1]) for task in tasks) / 1e9
    except (OSError, ValueError, IndexError):
        return None
