"""Where a running trial reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from automl.records import TrialConfig, TrialMessage, Verdict


class Reporter(Protocol):
    """Where a running trial reports; the answer says whether to go on."""

    def report(self, config: TrialConfig, message: TrialMessage) -> Verdict:
        """Pass on one message and wait for the verdict."""


#: Runs one trial to its end, or until a verdict is not to go on.
TrialJob = Callable[[TrialConfig, Reporter], None]
