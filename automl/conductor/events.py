"""What others may read of a conductor's journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from automl.records import Verdict


def verdict_on(events: Sequence[Mapping[str, Any]], trial_id: str, epoch: int) -> Verdict:
    """The verdict on an epoch of a trial; to stop where there is none: the study is at fault."""
    for event in reversed(events):
        if event["kind"] == "message" and event["trial_id"] == trial_id:
            message = event["message"]
            if message["kind"] == "epoch" and message["epoch"] == epoch:
                return Verdict(event["verdict"])
    return Verdict.STOP
