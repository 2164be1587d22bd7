"""`environment.json`: on what a study's trials were trained, for those who repeat one.

A study may be continued on another machine or with other packages, so the file is a list: each
entry holds from a journal's event on, until the next.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from automl.errors import StudyError
from automl.records import from_json, to_json
from automl.store.atomic import write_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What floating-point results depend on besides the recipe, the data and the seed.

    `cpu` is the model with the instructions that torch uses, `device` where trials train, `threads`
    the CPU threads of each trial, `runs_on` the backend in words.
    """

    python: str
    packages: Mapping[str, str]
    cpu: str
    device: str
    threads: int
    runs_on: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentFrom:
    """An environment, and the index of the journal's first event that was made in it."""

    first_event: int
    environment: Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentFile:
    """The environments of a study, in the order of their events."""

    environments: tuple[EnvironmentFrom, ...] = ()

    def at(self, event: int) -> Environment | None:
        """The environment in which an event was made; None for one before any was recorded."""
        known = [e.environment for e in self.environments if e.first_event <= event]
        return known[-1] if known else None


def read_environments(file: Path) -> EnvironmentFile:
    """Read the file; a missing one holds none. Raises StudyError on one that is not ours."""
    try:
        return from_json(EnvironmentFile, json.loads(file.read_bytes()))
    except FileNotFoundError:
        return EnvironmentFile()
    except (OSError, ValueError) as error:
        raise StudyError(f"{file}: not a readable list of environments: {error}") from error


def record_environment(file: Path, environment: Environment, *, first_event: int) -> None:
    """Add the environment of all events from `first_event` on, unless it is the last one's."""
    before = read_environments(file).environments
    if before and before[-1].environment == environment:
        return
    # A run that was killed before its first event has left an entry that holds for nothing.
    kept = tuple(entry for entry in before if entry.first_event < first_event)
    added = EnvironmentFrom(first_event=first_event, environment=environment)
    write_json(file, to_json(EnvironmentFile(environments=(*kept, added))))


def environment_differences(recorded: Environment, here: Environment) -> list[str]:
    """What may explain other numbers, one line each; how jobs are handed out does not."""
    before, now = _parts(recorded), _parts(here)
    return [
        f"{name}: recorded {before.get(name, 'absent')}, here {now.get(name, 'absent')}"
        for name in [*before, *sorted(now.keys() - before.keys())]
        if before.get(name) != now.get(name)
    ]


def _parts(environment: Environment) -> dict[str, str]:
    return {
        "CPU": environment.cpu,
        "device": environment.device,
        "CPU threads": str(environment.threads),
        "python": environment.python,
        **dict(sorted(environment.packages.items())),
    }
