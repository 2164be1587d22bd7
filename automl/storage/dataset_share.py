"""A study's imported dataset on nodes that share no disk: sent once, fetched once a node.

It is a unit of the study's store, so that every file is proven by the hash in its manifest.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from automl.errors import StudyError
from automl.storage.location import cache_root
from automl.storage.manifest import UnitManifest
from automl.storage.mirror import Mirror
from automl.storage.reliable import file_digest

_UNIT = "dataset"


def share_dataset(mirror: Mirror, root: Path) -> None:
    """Send the imported dataset in `root` to the store, if it is not there."""
    mirror.keep_as(_UNIT, root)


def dataset_here(mirror: Mirror, given: Path) -> Path:
    """The dataset on this node: `given` in this node's cache, else fetched beside the study.

    Raises StudyError where neither this node nor the store has it.
    """
    if given.is_relative_to(cache_root()) and given.is_dir():
        return given
    with _alone(mirror.root.with_name(f".{mirror.root.name}.{_UNIT}.lock")):
        manifest = mirror.manifest(_UNIT)
        if manifest is None:
            raise StudyError(
                f"{given}: is no dataset of this node, and {mirror.store.url} holds none: "
                "run the same command again, which sends it"
            )
        if not _is_whole(mirror.root, manifest):
            mirror.bring_unit(_UNIT)
        return mirror.root / _UNIT


def _is_whole(root: Path, manifest: UnitManifest) -> bool:
    """Whether the files are there; each was proven when it was fetched."""
    info = next((name for name in manifest.files if name.endswith(".json")), None)
    if info is None or not (root / info).exists():
        return False
    sizes = {name: digest.size for name, digest in manifest.files.items()}
    same = all((root / n).exists() and (root / n).stat().st_size == s for n, s in sizes.items())
    return same and file_digest(root / info) == manifest.files[info]


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process of this node at a time; the others wait, and find what it fetched."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
