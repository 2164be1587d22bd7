"""The device that will serve times for a study or a gate: an agent, asked with patience.

What goes to jobs is where the token file lies, never the token, and each timing reads it again.
Needs no torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from automl.benchmark.job import Artifacts, Entry, Job, Outcome, digest
from automl.benchmark.remote import AbsentError, BusyError, JobError, Remote
from automl.benchmark.secret import read_token
from automl.bundle.in_runtime import batch_of, form_of
from automl.bundle.runtimes import absence
from automl.errors import StudyError, TrialError, UsageError
from automl.jobs.stopwatch import Timing
from automl.measurement.latency import LatencyStats


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long an agent is waited for that does not answer, or is at work for others; seconds.

    Pauses between attempts double from the first to the longest.
    """

    absent_s: float = 300.0
    busy_s: float = 3600.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 10.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def with_retries(self, attempt: Callable[[], Outcome]) -> Outcome:
        """Try until there is an outcome; raises the last AbsentError or BusyError."""
        met: type[UsageError] | None = None
        since = pause = 0.0
        while True:
            try:
                return attempt()
            except (AbsentError, BusyError) as error:
                if met is not type(error):
                    met, since, pause = type(error), self.clock(), self.first_pause_s
                longest = self.absent_s if met is AbsentError else self.busy_s
                if self.clock() - since + pause > longest:
                    raise
            self.sleep(pause)
            pause = min(2 * pause, self.longest_pause_s)


PATIENT = Patience()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceAgent:
    """An agent at `target`, the processor that it was found on, and how long it is waited for."""

    target: str
    token_file: Path
    processor: str
    patience: Patience = PATIENT

    @classmethod
    def found(cls, target: str, token_file: Path, *, runtime: str, threads: int) -> Self:
        """The agent at tcp://HOST:PORT.

        Raises:
            UsageError: none answers, the token is not its, or it cannot measure what is asked for.
        """
        token_file = token_file.absolute()
        device = Remote.at(target, read_token(token_file)).device()
        missing = absence(runtime, device.runtimes)
        if missing is not None:
            raise UsageError(f"{target}: {runtime}: {missing}")
        if threads > device.cores:
            raise UsageError(
                f"{target}: given {threads} threads; allowed: at most the {device.cores} cores of "
                f"this device ({device.cpu})"
            )
        return cls(target=target, token_file=token_file, processor=device.cpu)

    def measure(self, job: Job, artifacts: Artifacts) -> Outcome:
        """Have a job timed there, after others that the agent is at work for.

        Raises:
            StudyError: it does not answer any more, or another device does.
            TrialError: this job cannot be done there.
        """
        try:
            outcome = self.patience.with_retries(lambda: self._remote().measure(job, artifacts))
        except JobError as error:
            raise TrialError(str(error)) from error
        except UsageError as error:
            raise StudyError(
                f"{error}. No latency can be measured; what is finished is kept: once the agent "
                "answers, the same command goes on"
            ) from error
        if outcome.device.cpu != self.processor:
            raise StudyError(
                f"{self.target}: another device answers than at the start: {outcome.device.cpu}, "
                f"not {self.processor}; times of the two do not compare"
            )
        return outcome

    def _remote(self) -> Remote:
        return Remote.at(self.target, read_token(self.token_file))


@dataclass(frozen=True, slots=True)
class AgentStopwatch:
    """Times on an agent's device; goes to jobs as it is, and works where the token file lies."""

    agent: DeviceAgent

    def describe(self) -> str:
        """Where it times, for the user."""
        return f"by the agent {self.agent.target} ({self.agent.processor}), one at a time"

    def cpu(self) -> str:
        """The processor of the device."""
        return self.agent.processor

    def time(self, artifacts: Mapping[str, Path], timing: Timing) -> dict[str, LatencyStats]:
        """Time each file there, in one job; waits until the agent is free.

        Raises StudyError and TrialError as `DeviceAgent.measure` does.
        """
        contents = {
            name: form_of(artifact.read_bytes(), timing.runtime, timing.size)
            for name, artifact in artifacts.items()
        }
        shape = (*batch_of(timing.runtime), *timing.size, 3)
        entries = tuple(
            Entry(label=name, artifact=digest(content), runtime=timing.runtime, shape=shape)
            for name, content in contents.items()
        )
        job = Job(
            entries=entries,
            threads=timing.threads,
            rounds=timing.rounds,
            warmup=timing.warmup,
            seed=timing.seed,
        )
        outcome = self.agent.measure(job, {digest(c): c for c in contents.values()})
        return {name: found.stats for name, found in zip(contents, outcome.timings, strict=True)}
