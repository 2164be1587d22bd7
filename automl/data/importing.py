"""Importing a dataset: checked, decoded once, resized, stored in Arrow files; then cached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from automl.data.check import (
    Progress,
    Tally,
    absence_faults,
    all_warnings,
    blank_faults,
    examine_all,
    no_counts,
)
from automl.data.dataset import Dataset, is_dataset, open_dataset
from automl.data.faults import refuse
from automl.data.folders import no_folder, survey_folder
from automl.data.import_cache import (
    BUILTIN_PREFIX,
    BUILTINS,
    Wanted,
    cache_name,
    cached,
    remove_abandoned,
)
from automl.data.known_classes import class_table, unknown_classes
from automl.data.letterbox import Frame
from automl.data.padding import bind_resize, with_padding
from automl.data.writing import DatasetWriter
from automl.errors import DataError, UsageError
from automl.resize import STRETCH, Resize
from automl.space.fields import Side
from automl.storage.fetching import fetch_tree
from automl.storage.location import cache_root, is_url
from automl.store.atomic import staged_folder


class StorageError(DataError):
    """An imported dataset cannot be written: a full disk, say."""


#: The rule of `DataSettings.size`.
_SIZE = TypeAdapter(tuple[Side, Side])


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
    wanted = Wanted(source=_here(source), frame=Frame(size, resize), split_seed=split_seed)
    return _import(wanted, destination, progress)


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
    wanted = Wanted(source=_here(source), frame=Frame(size, resize), split_seed=split_seed)
    return _from_cache(wanted, cache, progress)


def cached_for_network(
    source: str,
    frame: Frame,
    classes: Sequence[str],
    *,
    split_seed: int = 0,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """As `cached_dataset`, for a network that knows `classes` and takes images in `frame`.

    The dataset has these classes in this order. A folder's are found among them by name, whatever
    their order; one that train has no pixel of is no fault but a warning of the dataset. Raises
    DataError for a class that the network does not know, too.
    """
    wanted = Wanted(source=_here(source), frame=frame, split_seed=split_seed, known=tuple(classes))
    return _from_cache(wanted, cache, progress)


def _from_cache(wanted: Wanted, cache: Path | None, progress: Progress | None) -> Dataset:
    if wanted.source not in BUILTINS and is_dataset(Path(wanted.source)):
        return _of_known_classes(_imported_already(Path(wanted.source), wanted.frame), wanted)
    folder = (cache_root() if cache is None else cache) / "datasets"
    held = cached(folder, wanted)
    if held is not None:
        return held
    remove_abandoned(folder)
    try:
        return _import(wanted, folder / cache_name(wanted), progress)
    except StorageError as error:
        raise DataError(f"{error}: set AUTOML_CACHE to a folder that can be written") from error


def _import(wanted: Wanted, destination: Path, progress: Progress | None) -> Dataset:
    source = wanted.source
    if destination.exists() and not _is_replaceable(destination):
        raise DataError(f"{destination}: holds something that is no dataset: choose another place")
    with _storing(destination, source), staged_folder(destination) as staging:
        if source in BUILTINS:
            BUILTINS[source](staging, wanted.frame.size, wanted.split_seed)
            bind_resize(staging, wanted.frame.resize)
            _of_known_classes(open_dataset(staging), wanted)
        else:
            _write_folder_dataset(staging, wanted, progress)
    return open_dataset(destination)


def _here(source: str) -> str:
    """The source on this machine; raises DataError where it is neither a builtin nor a folder."""
    local = local_source(source)
    check_source(local)
    return local


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


def _write_folder_dataset(staging: Path, wanted: Wanted, progress: Progress | None) -> None:
    root, known = Path(wanted.source), wanted.known
    survey = survey_folder(root, wanted.split_seed)
    dataset = survey.dataset
    frame = with_padding(wanted.frame, dataset)
    tally = Tally(counts=no_counts(len(dataset.classes)), faults=list(survey.faults))
    classes = dataset.classes if known is None else known
    tally.faults += unknown_classes(root, dataset.classes, classes)
    table = class_table(dataset.classes, classes) if not tally.faults else None
    with DatasetWriter(staging, classes=classes, size=frame.size, resize=frame.resize) as writer:
        for split, examined in examine_all(dataset, frame, progress):
            tally.add(split, examined)
            if table is None or examined.image is None or examined.mask is None:
                continue
            if not tally.faults:
                writer.add(split, examined.sample.name, examined.image, table[examined.mask])
        missing = absence_faults if known is None else blank_faults
        refuse(root, [*tally.faults, *missing(dataset, tally)])
        writer.finish(
            dataset.name,
            ignore_index=dataset.ignore_index,
            warnings=all_warnings(survey, tally),
            held=tally.held,
            absent="refused" if known is None else "told",
        )


def _of_known_classes(dataset: Dataset, wanted: Wanted) -> Dataset:
    """The dataset, where its classes are those that are wanted: made already, they stay."""
    classes, known = dataset.info.classes, wanted.known
    if known is None:
        lacking = dataset.info.absent_from_train
        if lacking:
            raise DataError(
                f"{wanted.source}: class {lacking[0]!r} is absent from the masks of train: it "
                "cannot be learnt"
            )
    elif classes != known:
        raise DataError(
            f"{wanted.source}: its classes are {', '.join(classes)}; allowed: those of the "
            f"network, in their order: {', '.join(known)}. Give the folder that was imported: its "
            f"classes are found by name"
        )
    return dataset


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
