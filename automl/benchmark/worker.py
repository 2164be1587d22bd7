"""A job in a process of its own: fresh threads, nothing else in its processor time.

What a runtime does to the process ends with it: threads that stay on the cores they were started
on, memory, a crash. The process reads the job and the artifacts from its standard input, so that no
file is left behind, and ends when that is closed: it does not outlive the one that started it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO

from pydantic import ValidationError

from automl.benchmark.frames import Frame, Limits, pack, read_frame
from automl.benchmark.job import Artifacts, Job, Outcome
from automl.errors import UsageError
from automl.records import from_json, to_json

_LIMITS = Limits(head=64 << 20, body=1 << 40)
_POLL_S = 0.1


def measure_apart(
    job: Job,
    artifacts: Artifacts,
    *,
    seconds: float,
    wanted: Callable[[], bool] = lambda: True,
) -> Outcome:
    """Time a job in a new process of at most so many seconds, or until it is not `wanted`.

    Raises UsageError with what went wrong there.
    """
    with (
        tempfile.TemporaryFile() as answer,
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [sys.executable, "-m", "automl.benchmark.worker"],
            stdin=subprocess.PIPE,
            stdout=answer,
            stderr=errors,
        ) as process,
    ):
        try:
            _hand_over(process, job, artifacts)
            _wait(process, seconds, wanted)
        finally:
            process.kill()
        process.wait()
        return _outcome(process.returncode, answer, errors)


def measure_here(job: Job, artifacts: Artifacts) -> Outcome:
    """Time a job in a new process of this machine, however long it takes."""
    return measure_apart(job, artifacts, seconds=float("inf"))


def _hand_over(process: subprocess.Popen[bytes], job: Job, artifacts: Artifacts) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(pack(Frame({"job": to_json(job), "artifacts": len(artifacts)})))
        for name, content in artifacts.items():
            process.stdin.write(pack(Frame({"artifact": name}, content)))
        process.stdin.flush()
    except BrokenPipeError:
        # It ended; its exit code and last words tell why. What is left to write goes nowhere.
        with suppress(BrokenPipeError):
            process.stdin.close()


def _wait(process: subprocess.Popen[bytes], seconds: float, wanted: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > end:
            raise UsageError(
                f"the job takes longer than the {seconds:g} s that are allowed (--job-seconds)"
            )
        if not wanted():
            raise UsageError("the job is not wanted any more")
        time.sleep(_POLL_S)


def _outcome(code: int, answer: IO[bytes], errors: IO[bytes]) -> Outcome:
    if code != 0:
        errors.seek(0)
        words = errors.read().decode(errors="replace").strip().splitlines()
        reason = words[-1] if words else "no word"
        raise UsageError(f"the measuring process ended with exit code {code}: {reason}")
    answer.seek(0)
    frame, _ = read_frame(answer.read, _LIMITS)
    if "error" in frame.head:
        raise UsageError(str(frame.head["error"]))
    return from_json(Outcome, frame.head["outcome"])


def main() -> None:
    """Be the measuring process."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a runtime that prints must not write into the answer
    source = sys.stdin.buffer
    frame, _ = read_frame(source.read, _LIMITS)
    received = [read_frame(source.read, _LIMITS)[0] for _ in range(frame.head["artifacts"])]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with answer:
        answer.write(pack(_answer(frame, received)))


def _answer(frame: Frame, received: list[Frame]) -> Frame:
    from automl.benchmark.measure import measure  # noqa: PLC0415 (after all was read)

    artifacts = {each.head["artifact"]: each.body for each in received}
    try:
        return Frame({"outcome": to_json(measure(from_json(Job, frame.head["job"]), artifacts))})
    except (UsageError, ValidationError) as error:
        return Frame({"error": str(error)})


def _end_with_parent() -> None:
    """End the process as soon as the one that started it closed the pipe, or is no more."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main()
