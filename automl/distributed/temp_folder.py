"""Where Ray keeps the sockets and logs of a cluster that is started here."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

#: The longest path of a Unix socket is 107 bytes on Linux and 103 on macOS; below its folder Ray
#: adds `/session_2026-01-31_23-59-59_999999_<process id>/sockets/plasma_store`.
_LONGEST = 36


def temp_folder() -> Path | None:
    """The folder for a cluster of this process; None where Ray's own choice will do.

    A `TMPDIR` with a long path, as continuous integration likes to set, leaves no room for the
    names of Ray's sockets, and a folder that another user made cannot be written.
    """
    own = f"ray-{os.getuid()}"
    chosen = Path(os.environ.get("RAY_TMPDIR", os.environ.get("TMPDIR", "/tmp"))) / "ray"  # noqa: S108
    if _serves(chosen):
        return None
    return _first([Path("/tmp") / own, Path("/dev/shm") / own, Path("/var/tmp") / own])  # noqa: S108


def _first(candidates: Sequence[Path]) -> Path:
    for candidate in candidates:
        if _serves(candidate):
            return candidate
    # Nothing short can be written: Ray says what is wrong with this one.
    return Path(tempfile.gettempdir()) / "ray"


def _serves(folder: Path) -> bool:
    """Whether Ray can work in `folder`: its path is short, and it can be made and written."""
    if len(os.fsencode(folder)) > _LONGEST:
        return False
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
