"""The folder that a command writes into: new, empty, or one that the same request goes on in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from automl.errors import UsageError
from automl.store.atomic import write_json

_REQUEST = "request.json"


def claim(out: Path, asked: Mapping[str, Any], *, source: Path, what: str) -> None:
    """Take the folder `out` for a request, or raise UsageError; `what` names what it would hold.

    `source` is only read, so `out` may not lie in it.
    """
    file = out / _REQUEST
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        if before != asked:
            names = {**asked, **before}
            changed = ", ".join(name for name in names if before.get(name) != asked.get(name))
            raise UsageError(
                f"--out: {out} holds {what} of another request (other: {changed}); choose a new "
                "or an empty folder"
            )
        return
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"--out: {out} is there already; allowed: a new or an empty folder")
    if out.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"--out: {out} lies in the model, which is only read; choose another")
    out.mkdir(parents=True, exist_ok=True)
    write_json(file, asked)
