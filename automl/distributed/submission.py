"""Searches as Ray jobs: they run on the cluster, also when the machine that sent them is off."""

from __future__ import annotations

import asyncio
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from automl.errors import UsageError

#: Where Ray's dashboard is when `ray dashboard` or `kubectl port-forward` brings it here.
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
#: How long a search may take to leave when it is stopped, before it is killed.
_LEAVE_S = 60
#: Keys of what Ray keeps beside a job.
_STUDY = "automl_study"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A search to send: the experiment file, and the words of `automl search` beside it.

    `study` is where it writes, on the cluster. With `folder` everything in there goes along, and
    the search starts in it; without, the experiment file alone.
    """

    space: Path
    words: tuple[str, ...]
    study: str
    folder: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as Ray knows it. `status` is one of Ray's words, in small letters."""

    job_id: str
    status: str
    study: str
    started: datetime | None
    ended: datetime | None
    message: str

    @property
    def is_over(self) -> bool:
        """Whether it has come to an end."""
        return self.status in {"succeeded", "failed", "stopped"}


class Jobs:
    """The jobs of one cluster, through its dashboard."""

    def __init__(self, address: str) -> None:
        """Raises UsageError where no dashboard answers, or it wants another token."""
        self._address = address
        try:
            self._client = JobSubmissionClient(address)
        except (ConnectionError, RuntimeError, ValueError) as fault:
            raise UsageError(
                f"--address: given {address}; allowed: the address of a Ray dashboard, which "
                f"`ray dashboard`, `kubectl port-forward` or an SSH tunnel brings here, such as "
                f"{DEFAULT_ADDRESS} ({_first_line(fault)})"
            ) from fault

    def submit(self, submission: Submission) -> str:
        """Send a search; the job's id."""
        with _package(submission) as (folder, space):
            words = ["search", "--space", space, *submission.words]
            try:
                job_id: str = self._client.submit_job(
                    entrypoint=shlex.join(["python", "-m", "automl", *words]),
                    submission_id=f"automl-{Path(submission.study).name}-{secrets.token_hex(3)}",
                    runtime_env={
                        "working_dir": str(folder),
                        "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(_LEAVE_S)},
                    },
                    metadata={_STUDY: submission.study},
                )
            except (RuntimeError, ValueError) as fault:
                raise UsageError(f"the cluster refuses the job: {_first_line(fault)}") from fault
        return job_id

    def all(self) -> list[Job]:
        """The searches that were sent to this cluster, oldest first."""
        found = [_job(details) for details in self._client.list_jobs() if _is_ours(details)]
        return sorted(found, key=lambda job: job.started or datetime.max.replace(tzinfo=UTC))

    def one(self, job_id: str) -> Job:
        """One search; raises UsageError where there is none of this id."""
        known = [details for details in self._client.list_jobs() if _is_ours(details)]
        for details in known:
            if details.submission_id == job_id:
                return _job(details)
        ids = ", ".join(str(details.submission_id) for details in known)
        raise UsageError(f"JOB: given {job_id}; allowed: {ids or 'none, as no job was sent yet'}")

    def log(self, job_id: str) -> str:
        """All that a search has printed so far."""
        text: str = self._client.get_job_logs(job_id)
        return text

    def follow(self, job_id: str, show: Callable[[str], None]) -> Job:
        """Show what a search prints, from its beginning until it ends or the line is cut."""
        asyncio.run(self._follow(job_id, show))
        return self.one(job_id)

    def stop(self, job_id: str) -> None:
        """Ask a search to stop, as Ctrl-C would: at most the epoch in flight is lost."""
        self._client.stop_job(job_id)

    async def _follow(self, job_id: str, show: Callable[[str], None]) -> None:
        try:
            async for lines in self._client.tail_job_logs(job_id):
                show(lines)
        except (ConnectionError, RuntimeError, OSError):
            # Whether the job has ended is for the caller to see.
            return


@contextmanager
def _package(submission: Submission) -> Iterator[tuple[Path, str]]:
    """The folder to send, and the experiment file's path in it."""
    if submission.folder is not None:
        space = submission.space.resolve()
        root = submission.folder.resolve()
        if not space.is_relative_to(root):
            raise UsageError(f"--space: given {submission.space}; allowed: a file in {root}")
        yield root, str(space.relative_to(root))
        return
    with tempfile.TemporaryDirectory(prefix="automl-submit-") as scratch:
        shutil.copyfile(submission.space, Path(scratch) / submission.space.name)
        yield Path(scratch), submission.space.name


def _is_ours(details: JobDetails) -> bool:
    return _STUDY in (details.metadata or {})


def _job(details: JobDetails) -> Job:
    return Job(
        job_id=str(details.submission_id),
        status=_status(details.status),
        study=details.metadata[_STUDY],
        started=_time(details.start_time),
        ended=_time(details.end_time),
        message=str(details.message or ""),
    )


def _status(status: JobStatus) -> str:
    return str(status.value).lower()


def _time(milliseconds: int | None) -> datetime | None:
    return None if not milliseconds else datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def _first_line(fault: BaseException) -> str:
    lines: Sequence[Any] = str(fault).strip().splitlines()
    return str(lines[0]) if lines else type(fault).__name__
