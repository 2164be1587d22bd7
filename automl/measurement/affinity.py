"""Keep this process on a few cores, where the operating system lets it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_TOPOLOGY = "/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def pinned(count: int) -> Iterator[tuple[int, ...]]:
    """Keep the calling thread, and all that it starts, on `count` cores; gives their numbers.

    Gives none where the system has no such call or has fewer cores; nothing is pinned then. The
    calling thread may use its former cores again afterwards. The first core is taken last, since
    systems handle interrupts there, and a core's second hardware thread after all whole cores.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield ()
        return
    before = os.sched_getaffinity(0)
    chosen = core_order(before, _siblings)[:count]
    if len(chosen) < count:
        yield ()
        return
    try:
        os.sched_setaffinity(0, chosen)
    except OSError:
        yield ()
        return
    try:
        yield tuple(sorted(chosen))
    finally:
        os.sched_setaffinity(0, before)


def core_order(cores: set[int], siblings: Callable[[int], str]) -> Sequence[int]:
    """The cores to use, best first; `siblings` names the hardware threads of a core, alike for all.

    An empty name stands for a core without siblings.
    """
    first: list[int] = []
    second: list[int] = []
    seen: set[str] = set()
    for core in sorted(cores, reverse=True):
        group = siblings(core)
        (second if group and group in seen else first).append(core)
        seen.add(group)
    return [*first, *second]


def _siblings(core: int) -> str:
    try:
        return Path(_TOPOLOGY.format(core=core)).read_text(encoding="ascii").strip()
    except OSError:
        return ""
