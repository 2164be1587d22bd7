"""One writer for each study in a store that has no locks.

Each writer has an object of its own below `.automl/writers`, and holds the study if, after it was
written, no other one is in the list. Reads and lists see every write that ended before, so of two
that come at once at least one sees the other; both may, and then both go: never do two hold it.

A holder writes its object anew every few seconds. One that has not for a minute, by the clock of
the store, or whose process is gone from this machine, holds it no more. What a store cannot do is
to refuse a write of one that was stopped for longer than that: so a holder that notices looks
first whether it still has its claim (`check`).
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from automl.errors import UsageError
from automl.records import from_json, to_json
from automl.storage.manifest import OWN
from automl.storage.objects import Entry, NoObjectError, Objects, TransientError, UnreachableError
from automl.storage.reliable import Reliable

_WRITERS = f"{OWN}/writers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds between signs of life, and without one until a claim is void."""

    beat_s: float = 15.0
    void_s: float = 60.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Who writes to a study. `machine` tells machines and containers apart that share a name."""

    host: str
    pid: int
    since: str
    machine: str

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}, since {self.since}"

    def is_dead(self, machine: str) -> bool:
        """Whether it is known to be gone: its process was on this machine."""
        return self.machine == machine and not Path(f"/proc/{self.pid}").exists()


def writer_here() -> Writer:
    """The process that asks."""
    return Writer(
        host=socket.gethostname(),
        pid=os.getpid(),
        since=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        machine=_machine(),
    )


@dataclass(slots=True)
class Claim:
    """A writer's hold on a study; `claimed` gives one."""

    store: Reliable
    writer: Writer
    times: Times
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    #: Whether it has outlasted all others; until then it only waits.
    holds: bool = False
    _last_beat: float = 0.0
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def key(self) -> str:
        """The object of this claim."""
        return f"{_WRITERS}/{self.token}.json"

    def check(self) -> None:
        """Raise UnreachableError where the study has another writer by now."""
        if self.times.clock() - self._last_beat < self.times.void_s / 2:
            return
        others = [e.key for e in self.store.entries(_WRITERS) if e.key != self.key]
        taken = any(_holds(self.store.get_bytes(key)) for key in others)
        if taken or self.store.get_bytes(self.key) is None:
            raise UnreachableError(
                f"{self.store.url}: this process showed no sign of life for too long, and lost the "
                "study to another writer; the other goes on from all that is finished"
            )
        self.beat(self.store.objects)

    def beat(self, objects: Objects) -> None:
        """Show a sign of life: one attempt, the next beat is another one."""
        try:
            objects.write(self.key, iter([self._content()]))
        except TransientError:
            return
        self._last_beat = self.times.clock()

    def put(self) -> None:
        """Write the claim, proven."""
        self.store.put_bytes(self.key, self._content())
        self._last_beat = self.times.clock()

    def keep_beating(self) -> None:
        """Beat until the end of the claim; the body of a thread."""
        while not self._ended.wait(self.times.beat_s):
            try:
                self.store.objects.state(self.key)
            except NoObjectError:
                return  # taken over: `check` tells
            except TransientError:
                continue
            self.beat(self.store.objects)

    def end(self) -> None:
        """Let the next writer in."""
        self._ended.set()
        try:
            self.store.objects.delete(self.key)
        except TransientError:
            return  # a minute without a sign of life ends it, too

    def _content(self) -> bytes:
        return json.dumps({**to_json(self.writer), "holds": self.holds}).encode()


@contextmanager
def claimed(
    store: Reliable, writer: Writer, times: Times, *, tell: Callable[[str], None]
) -> Iterator[Claim]:
    """Hold a study in the block; raises UsageError naming the writer that holds it.

    `tell` is told where the last writer may be dead, which takes up to a minute to know.
    """
    claim = Claim(store=store, writer=writer, times=times)
    claim.put()
    try:
        _outlast_the_dead(claim, tell)
        claim.holds = True
        claim.put()
        beating = threading.Thread(target=claim.keep_beating, daemon=True)
        beating.start()
        yield claim
    finally:
        claim.end()


def _outlast_the_dead(claim: Claim, tell: Callable[[str], None]) -> None:
    """Wait until no other claim is left; raise UsageError as soon as one shows a sign of life."""
    seen: dict[str, float] = {}
    while True:
        others = {entry.key: entry for entry in claim.store.entries(_WRITERS)}
        own = others.pop(claim.key, None)
        if own is not None:
            if not others:
                return
            for other in others.values():
                _judge(claim, other, own.changed_s, seen, tell)
        # One that slept may have been taken for dead: it claims again, and looks again.
        claim.times.sleep(min(1.0, claim.times.beat_s / 5))
        claim.put()  # the store's clock is read from it


def _judge(
    claim: Claim, other: Entry, now_s: float, seen: dict[str, float], tell: Callable[[str], None]
) -> None:
    holder = _writer_of(claim.store.get_bytes(other.key))
    if holder is None:
        return  # it has just ended
    silent_s = now_s - other.changed_s
    if holder.is_dead(claim.writer.machine) or silent_s > claim.times.void_s:
        claim.store.delete(other.key)
        return
    if other.key in seen and seen[other.key] != other.changed_s:
        raise UsageError(
            f"{claim.store.url}: another search is running on this study: {holder}; wait for it, "
            "stop it, or choose another --out"
        )
    if other.key not in seen:
        tell(
            f"{claim.store.url}: {holder} has written here {max(0, silent_s):.0f} s ago; waiting "
            "for a sign of life, or for a minute without one"
        )
    seen[other.key] = other.changed_s


def _writer_of(content: bytes | None) -> Writer | None:
    if content is None:
        return None
    plain: dict[str, Any] = json.loads(content)
    return from_json(Writer, {name: plain[name] for name in Writer.__dataclass_fields__})


def _holds(content: bytes | None) -> bool:
    return content is not None and json.loads(content)["holds"] is True


def _machine() -> str:
    """The boot of the machine, and its process namespace: containers have one of their own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{socket.gethostname()}/{secrets.token_hex(8)}"
