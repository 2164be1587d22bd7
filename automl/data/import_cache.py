"""Where the cache keeps imported datasets, by what was imported and how."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from automl.data import surface_defects
from automl.data.dataset import FORMAT_VERSION, Dataset, is_dataset, open_dataset
from automl.data.folders import sample_files
from automl.data.letterbox import Frame
from automl.errors import DataError
from automl.records import short_hash, to_json
from automl.resize import Resize
from automl.store.atomic import STAGED_SUFFIX

BUILTIN_PREFIX = "builtin:"

#: Datasets that are made, not read: each fills a folder, given size and seed.
BUILTINS: Mapping[str, Callable[[Path, tuple[int, int], int], None]] = MappingProxyType(
    {"builtin:surface-defects": surface_defects.write_dataset}
)
_BUILTIN_VERSIONS: Mapping[str, int] = {"builtin:surface-defects": surface_defects.VERSION}

#: What a killed import left behind is removed after this many seconds.
_ABANDONED_S = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be imported, into which frame; `split_seed` divides what has no splits.

    `known` are the classes of a network, in their order: those of the source are found among them
    by name, and some may be absent. None: the source says what its classes are, and has them all.
    """

    source: str
    frame: Frame
    split_seed: int
    known: tuple[str, ...] | None = None


def cached(folder: Path, wanted: Wanted) -> Dataset | None:
    """The dataset as the cache in `folder` holds it, whole; None where it does not."""
    padding = wanted.frame.resize.padding
    found = _opened(folder / cache_name(wanted))
    if found is None and padding is not None:
        # What an experiment imported may have found the same colour by itself.
        unnamed = replace(wanted, frame=_without_colour(wanted.frame))
        found = _opened(folder / cache_name(unnamed))
    if found is not None and padding in (None, found.info.resize.padding):
        return found
    if wanted.known is None:
        return None
    # Where the classes agree, the ordinary import gave the same.
    ordinary = cached(folder, replace(wanted, known=None))
    return ordinary if ordinary is not None and ordinary.info.classes == wanted.known else None


def cache_name(wanted: Wanted) -> str:
    """A name that changes whenever an import could give something else."""
    content: object
    source, frame = wanted.source, wanted.frame
    if source in BUILTINS:
        name, content = source.removeprefix(BUILTIN_PREFIX), _BUILTIN_VERSIONS[source]
    else:
        root = Path(source).resolve()
        name = root.name
        content = [str(root), [_stamp(root, path) for path in sample_files(root)]]
    (height, width), resize = frame.size, frame.resize
    what = [FORMAT_VERSION, source in BUILTINS, name, content, frame.size, wanted.split_seed]
    if resize.is_letterbox:  # what is stretched has the names that it always had
        what.append(to_json(resize))
    if wanted.known is not None:
        what.append({"known": list(wanted.known)})
    return f"{name}-{height}x{width}-{short_hash(what)}"


def remove_abandoned(folder: Path) -> None:
    """Remove what imports killed long ago left; one that still runs is younger than that."""
    for left in folder.glob(f".*{STAGED_SUFFIX}"):
        try:
            abandoned = time.time() - left.stat().st_mtime > _ABANDONED_S
        except FileNotFoundError:
            continue  # another process has just finished or removed it
        if abandoned:
            shutil.rmtree(left, ignore_errors=True)


def _without_colour(frame: Frame) -> Frame:
    return Frame(frame.size, Resize(mode=frame.resize.mode))


def _opened(place: Path) -> Dataset | None:
    if not is_dataset(place):
        return None
    try:
        return open_dataset(place)
    except DataError:
        return None  # damaged since it was written: made anew


def _stamp(root: Path, path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return path.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns
