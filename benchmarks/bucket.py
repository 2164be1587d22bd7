"""What a study in a bucket waits for: an event of its journal, the checkpoint of an epoch.

    python benchmarks/bucket.py s3://bucket/try [--events 200] [--megabytes 10]

`$AWS_ENDPOINT_URL_S3` names a server that is not Amazon's. Requests are counted, since what they
take depends on how far the store is; on the disk means without a bucket, in the same run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from automl.storage.arrow_objects import connect
from automl.storage.journal_copy import JournalCopy, remove_journal
from automl.storage.mirror import Mirror
from automl.storage.reliable import Reliable
from automl.store.journal import JOURNAL_NAME, Journal


class Counting:
    """Counts the requests that pass."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self._inner, name)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--megabytes", type=int, default=10)
    words = parser.parse_args()
    objects = Counting(connect(words.url))
    store = Reliable(words.url, objects)
    with tempfile.TemporaryDirectory() as folder:
        journal_times(store, objects, Path(folder), words.events)
        checkpoint_times(store, objects, Path(folder), words.megabytes)


def journal_times(store: Reliable, objects: Counting, folder: Path, events: int) -> None:
    event = {"kind": "message", "metrics": {f"iou.{n}": 0.123456789 for n in range(12)}}
    with Journal(folder / "disk.jsonl") as journal:
        disk = times(lambda: journal.append(event), events)
    file = folder / JOURNAL_NAME
    with Journal(file, JournalCopy(store, file)) as journal:
        journal.append(event)
        objects.calls.clear()
        journal.append(event)
        calls = list(objects.calls)
        both = times(lambda: journal.append(event), events)
    remove_journal(store)
    print(f"an event of the journal on the disk:      {told(disk)}")
    print(f"an event of the journal in the bucket:    {told(both)}; {', '.join(calls)}")


def checkpoint_times(store: Reliable, objects: Counting, folder: Path, megabytes: int) -> None:
    mirror = Mirror(store, folder / "study")
    place = "trials/0000-aaaaaaaa"
    kept = []
    for epoch in range(1, 7):
        own = mirror.root / place / "checkpoint" / f"epoch-{epoch:05d}"
        own.mkdir(parents=True)
        for name, share in (("model", 3), ("optimizer", 1)):
            (own / f"{name}.safetensors").write_bytes(os.urandom(megabytes * 250_000 * share))
        (own / "state.json").write_text(str(epoch))
        objects.calls.clear()
        kept += times(lambda: mirror.keep(place), 1)
    print(f"a checkpoint of {megabytes} MB in the bucket:        {told(kept)}")
    print(f"  its requests: {', '.join(objects.calls)}")
    for entry in store.entries(""):
        store.delete(entry.key)


def times(call: Callable[[], None], count: int) -> list[float]:
    taken = []
    for _ in range(count):
        started = time.perf_counter()
        call()
        taken.append(1e3 * (time.perf_counter() - started))
    return taken


def told(milliseconds: list[float]) -> str:
    ordered = sorted(milliseconds)
    p95 = ordered[int(0.95 * (len(ordered) - 1))]
    return f"{statistics.median(ordered):6.1f} ms in the middle, {p95:6.1f} ms at p95"


if __name__ == "__main__":
    main()
