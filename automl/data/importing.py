"""Importing a dataset: checked, decoded once, resized, stored in Arrow files; then cached."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from automl.data import surface_defects
from automl.data.check import (
    Progress,
    Tally,
    absence_faults,
    all_warnings,
    examine_all,
    no_counts,
)
from automl.data.dataset import FORMAT_VERSION, Dataset, is_dataset, open_dataset
from automl.data.faults import refuse
from automl.data.folders import no_folder, sample_files, survey_folder
from automl.data.letterbox import Frame
from automl.data.padding import bind_resize, with_padding
from automl.data.writing import DatasetWriter
from automl.errors import DataError, UsageError
from automl.records import short_hash, to_json
from automl.resize import STRETCH, Resize
from automl.space.fields import Side
from automl.storage.fetching import fetch_tree
from automl.storage.location import cache_root, is_url
from automl.store.atomic import STAGED_SUFFIX, staged_folder

BUILTIN_PREFIX = "builtin:"


class StorageError(DataError):
    """An imported dataset cannot be written: a full disk, say."""


#: Datasets that are made, not read: each fills a folder, given size and seed.
BUILTINS: Mapping[str, Callable[[Path, tuple[int, int], int], None]] = {
    "builtin:surface-defects": surface_defects.write_dataset,
}
_BUILTIN_VERSIONS: Mapping[str, int] = {"builtin:surface-defects": surface_defects.VERSION}

#: The rule of `DataSettings.size`.
_SIZE = TypeAdapter(tuple[Side, Side])

#: What a killed import left behind is removed after this many seconds.
_ABANDONED_S = 24 * 3600.0


def import_dataset(
    source: str,
    *,
    size: tuple[int, int],
    resize: Resize = STRETCH,
    split_seed: int = 0,
    destination: Path,
    progress: Progress | None = None,
) -> Dataset:
    """Import a folder or a builtin dataset to `destination`, whole or not at all.

    `size` is (height, width) in pixels: images are resized bilinearly with antialiasing, masks by
    the nearest pixel. A letterbox without a colour has the mean of (at most 256) train images;
    builtin images are made at the size and have no padding. `split_seed` divides an undivided
    folder, and seeds a builtin. An imported dataset at `destination` is replaced. What is no fault
    of the source but spoils scores is in the `warnings` of the dataset.

    Raises:
        UsageError: networks do not take this size (`check_size`).
        DataError: all faults of the source, or `destination` holds something else; StorageError
            where it cannot be written.
    """
    check_size(size)
    source = local_source(source)
    check_source(source)
    if destination.exists() and not _is_replaceable(destination):
        raise DataError(f"{destination}: holds something that is no dataset: choose another place")
    with _storing(destination, source), staged_folder(destination) as staging:
        if source in BUILTINS:
            BUILTINS[source](staging, size, split_seed)
            bind_resize(staging, resize)
        else:
            frame = Frame(size, resize)
            _write_folder_dataset(Path(source), staging, frame, split_seed, progress)
    return open_dataset(destination)


def cached_dataset(
    source: str,
    *,
    size: tuple[int, int],
    resize: Resize = STRETCH,
    split_seed: int = 0,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Give the imported form of a source, importing it where the cache does not hold it yet.

    The cache is `cache`, $AUTOML_CACHE, or ~/.cache/automl. A source that is an imported dataset
    itself is opened where it lies; it must have been imported at `size` and by `resize`. Raises as
    `import_dataset` does.
    """
    check_size(size)
    source = local_source(source)
    check_source(source)
    if source not in BUILTINS and is_dataset(Path(source)):
        return _imported_already(Path(source), Frame(size, resize))
    folder = (cache_root() if cache is None else cache) / "datasets"
    frame = Frame(size, resize)
    place = folder / _cache_name(source, frame, split_seed)
    known = _cached(place)
    if known is None and resize.padding is not None:
        # What an experiment imported may have found the same colour by itself.
        unnamed = Frame(size, Resize(mode=resize.mode))
        known = _cached(folder / _cache_name(source, unnamed, split_seed))
    if known is not None and resize.padding in (None, known.info.resize.padding):
        return known
    _remove_abandoned(folder)
    try:
        return import_dataset(
            source,
            size=size,
            resize=resize,
            split_seed=split_seed,
            destination=place,
            progress=progress,
        )
    except StorageError as error:
        raise DataError(f"{error}: set AUTOML_CACHE to a folder that can be written") from error


def _cached(place: Path) -> Dataset | None:
    if not is_dataset(place):
        return None
    try:
        return open_dataset(place)
    except DataError:
        return None  # damaged since it was written: made anew


def local_source(source: str) -> str:
    """A source that is on this machine: one in an object store is fetched into the cache.

    Raises DataError where nothing is there, or the store refuses.
    """
    if not is_url(source):
        return source
    try:
        return str(fetch_tree(source, "--data"))
    except UsageError as error:
        raise DataError(str(error)) from error


def check_source(source: str) -> None:
    """Raise DataError where a source is neither a builtin nor a folder."""
    if source in BUILTINS:
        return
    if source.startswith(BUILTIN_PREFIX):
        raise DataError(f"unknown dataset {source!r}: built in are {', '.join(BUILTINS)}")
    if not Path(source).is_dir():
        raise DataError(
            f"{source}: {no_folder(Path(source))}: give one that holds images/ and masks/ (or "
            f"train|val|test with both), or one of {', '.join(BUILTINS)}"
        )


def check_size(size: tuple[int, int]) -> None:
    """Raise UsageError unless (height, width) is a size that an experiment may name, too."""
    try:
        _SIZE.validate_python(size, strict=True)
    except ValidationError:
        raise UsageError(
            f"size (height, width): given {size}; allowed: two multiples of 32 from 32 to 2048"
        ) from None


@contextmanager
def _storing(destination: Path, source: str) -> Iterator[None]:
    """Turn an OSError into a StorageError, unless it is about a file of the source."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and Path(error.filename).is_relative_to(source):
            raise
        raise StorageError(f"{destination}: cannot be written: {error}") from error


def _write_folder_dataset(
    root: Path, staging: Path, wanted: Frame, split_seed: int, progress: Progress | None
) -> None:
    survey = survey_folder(root, split_seed)
    dataset = survey.dataset
    frame = with_padding(wanted, dataset)
    tally = Tally(counts=no_counts(len(dataset.classes)), faults=list(survey.faults))
    with DatasetWriter(
        staging, classes=dataset.classes, size=frame.size, resize=frame.resize
    ) as writer:
        for split, examined in examine_all(dataset, frame, progress):
            tally.add(split, examined)
            if examined.image is not None and examined.mask is not None and not tally.faults:
                writer.add(split, examined.sample.name, examined.image, examined.mask)
        refuse(root, [*tally.faults, *absence_faults(dataset, tally)])
        writer.finish(
            dataset.name,
            ignore_index=dataset.ignore_index,
            warnings=all_warnings(survey, tally),
            held=tally.held,
        )


def _imported_already(root: Path, frame: Frame) -> Dataset:
    dataset = open_dataset(root)
    info, size, wanted = dataset.info, frame.size, frame.resize
    if info.size != size:
        raise DataError(
            f"{root}: was imported at {info.size} (height, width), {size} is asked for: "
            "import the source anew, or set data.size"
        )
    if info.resize.mode != wanted.mode:
        raise DataError(
            f"{root}: was imported with resize {info.resize.mode}, {wanted.mode} is asked for: "
            "import the source anew, or set data.resize"
        )
    if wanted.padding not in (None, info.resize.padding):
        raise DataError(
            f"{root}: was imported with padding of the colour {info.resize.padding}; the network "
            f"knows {wanted.padding}: give the source of the import"
        )
    return dataset


def _is_replaceable(folder: Path) -> bool:
    return folder.is_dir() and (is_dataset(folder) or not any(folder.iterdir()))


def _cache_name(source: str, frame: Frame, split_seed: int) -> str:
    """A name that changes whenever an import could give something else."""
    content: object
    if source in BUILTINS:
        name, content = source.removeprefix(BUILTIN_PREFIX), _BUILTIN_VERSIONS[source]
    else:
        root = Path(source).resolve()
        name = root.name
        content = [str(root), [_stamp(root, path) for path in sample_files(root)]]
    (height, width), resize = frame.size, frame.resize
    what = [FORMAT_VERSION, source in BUILTINS, name, content, frame.size, split_seed]
    if resize.is_letterbox:  # what is stretched has the names that it always had
        what.append(to_json(resize))
    return f"{name}-{height}x{width}-{short_hash(what)}"


def _stamp(root: Path, path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return path.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns


def _remove_abandoned(folder: Path) -> None:
    """Remove what imports killed long ago left; one that still runs is younger than that."""
    for left in folder.glob(f".*{STAGED_SUFFIX}"):
        try:
            abandoned = time.time() - left.stat().st_mtime > _ABANDONED_S
        except FileNotFoundError:
            continue  # another process has just finished or removed it
        if abandoned:
            shutil.rmtree(left, ignore_errors=True)
