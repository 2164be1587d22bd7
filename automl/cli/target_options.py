"""Options of the commands that another device times for; importing them costs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from automl.agent_stopwatch import DeviceAgent

Runtime = Annotated[
    str, typer.Option(help="onnxruntime, or openvino (the extra automl\\[openvino]).")
]
Target = Annotated[
    str | None, typer.Option(help="Measure there: tcp://HOST:PORT, see automl agent serve.")
]
TokenFile = Annotated[
    Path | None, typer.Option(help="The secret shared with the agent of --target.")
]


def given_together(target: str | None, token_file: Path | None) -> tuple[str, Path] | None:
    """Both, or None where neither is given; raises UsageError for one without the other."""
    from automl.errors import UsageError

    if target is None and token_file is None:
        return None
    if target is None or token_file is None:
        raise UsageError("--target and --token-file are given together or not at all")
    return target, token_file


def agent_of(
    target: str | None, token_file: Path | None, *, runtime: str, threads: int
) -> DeviceAgent | None:
    """The agent that is asked for, found able to measure in a runtime with so many threads."""
    given = given_together(target, token_file)
    if given is None:
        return None
    from automl.agent_stopwatch import DeviceAgent

    return DeviceAgent.found(*given, runtime=runtime, threads=threads)


def runtime_line(runtime: str, timed_on: str | None, threads: int) -> str:
    """What a plan says of where files are timed: on an agent's processor, or a CPU here."""
    place = "cpu" if timed_on is None else f"the agent's {timed_on}"
    return f"runtime    {runtime} on {place}, {threads} thread(s), batch 1"
