"""What others may read of a conductor's journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from automl.records import Verdict


def verdict_on(events: Sequence[Mapping[str, Any]], trial_id: str, epoch: int) -> Verdict:
    """The verdict on an epoch of a trial; to stop where there is none: the study is at fault.

    A trial that was paused and has been promoted since goes on.
    """
    for event in reversed(events):
        if event.get("trial_id") != trial_id:
            continue
        if event["kind"] == "promoted" and event["epoch"] == epoch:
            return Verdict.CONTINUE
        message = event.get("message", {})
        if message.get("kind") == "epoch" and message["epoch"] == epoch:
            return Verdict(event["verdict"])
    return Verdict.STOP


def last_epoch(events: Sequence[Mapping[str, Any]], trial_id: str) -> int:
    """The latest epoch of a trial on record; 0 where there is none."""
    messages = (event.get("message", {}) for event in events if event.get("trial_id") == trial_id)
    return max((m["epoch"] for m in messages if m.get("kind") == "epoch"), default=0)
