"""`experiment.json`: what a study's folder was made for, and whether that is what is asked now."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from automl.errors import UsageError
from automl.store.atomic import write_json
from automl.store.differences import differences


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What the user declared, and the key of all in it that changes results."""

    study_key: str
    experiment: dict[str, Any]


def write_declaration(file: Path, declaration: Declaration) -> None:
    """Write the file whole or not at all."""
    write_json(file, {"study_key": declaration.study_key, "experiment": declaration.experiment})


def read_declaration(file: Path) -> Declaration:
    """Read the file; raises UsageError when there is none, or one that is not ours."""
    try:
        plain = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(
            f"{file.parent}: holds no study (there is no {file.name}); `automl search` starts one, "
            "and --out names its folder"
        ) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: unreadable: {error}") from error
    match plain:
        case {"study_key": str(key), "experiment": dict(experiment)}:
            return Declaration(study_key=key, experiment=experiment)
    raise UsageError(
        f"{file}: not written by this program (it needs a study_key and an experiment)"
    )


def different_study(root: Path, before: Declaration, now: Declaration) -> str:
    """The message for one who asks for another study than the one in the folder."""
    return (
        f"{root}: holds a different study (key {before.study_key}, now {now.study_key}):\n"
        f"{differences(before.experiment, now.experiment)}\n"
        "Choose another --out, or start anew with --overwrite (which deletes this study's results)."
    )
