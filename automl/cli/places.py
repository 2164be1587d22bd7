"""Where a command reads and writes: paths, and for what it reads also URLs of object stores."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

import typer

from automl.errors import UsageError

Given = TypeVar("Given", Path, list[Path], None)

#: A URL as it looks once it was taken for a path.
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9]*):/(?!/)(?P<rest>.+)")


def here(parameter: typer.CallbackParam, given: Given) -> Given:
    """What is read, on this machine: a study, a trial or a bundle of a store is fetched first."""
    if given is None:
        return None
    if isinstance(given, list):
        return [_fetched(path, _name(parameter)) for path in given]
    return _fetched(given, _name(parameter))


def written_here(parameter: typer.CallbackParam, given: Given) -> Given:
    """What is written, which has to be a path of this machine."""
    if isinstance(given, Path) and (url := _url(given)) is not None:
        raise UsageError(
            f"{_name(parameter)}: given {url}; allowed: a path. `automl search` alone writes to an "
            "object store; the other commands read from one: write to a path here, and copy that"
        )
    return given


def _fetched(path: Path, name: str) -> Path:
    url = _url(path)
    if url is None:
        return path
    from automl.storage.reading import fetched

    return fetched(url, name)


def _url(path: Path) -> str | None:
    found = _URL.fullmatch(str(path))
    if found is None or path.exists():
        return None
    slashes = ":///" if found["scheme"] == "file" else "://"
    return f"{found['scheme']}{slashes}{found['rest']}"


def _name(parameter: typer.CallbackParam) -> str:
    """As the user knows it: --out, or BUNDLE."""
    name = str(parameter.name)
    is_option = parameter.param_type_name == "option"
    return f"--{name.replace('_', '-')}" if is_option else name.upper()
