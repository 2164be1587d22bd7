"""A search in this process: one trial after another."""

from __future__ import annotations

from dataclasses import dataclass

from automl.conductor.conductor import Conductor
from automl.records import TrialConfig, TrialMessage, Verdict
from automl.reporting import TrialJob


@dataclass(frozen=True, slots=True)
class ConductorReporter:
    """Reports straight to a conductor of this process."""

    conductor: Conductor

    def report(self, config: TrialConfig, message: TrialMessage) -> Verdict:
        """Pass on one message."""
        return self.conductor.handle(config.trial_id, message)


def run_here(conductor: Conductor, job: TrialJob) -> None:
    """Run trials one after another until the conductor has no more."""
    reporter = ConductorReporter(conductor)
    while (config := conductor.next_trial()) is not None:
        job(config, reporter)
