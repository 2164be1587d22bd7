"""Finding the samples of a folder dataset: which image goes with which mask, in which split.

Two layouts: `train|val|test / images|masks`, or `images|masks` alone, then divided 70/15/15 so that
classes keep their shares. An image and its mask have the same path below their folder, save for
the suffix.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from automl.data.declaration import DECLARATION_FILE, read_declaration
from automl.data.decode import read_mask
from automl.data.faults import Fault
from automl.data.stratify import stratified_splits
from automl.errors import DataError
from automl.records import SPLITS, Split

IMAGES, MASKS = "images", "masks"
#: What others call the splits.
_ALIASES: Mapping[Split, tuple[str, ...]] = MappingProxyType(
    {
        "train": ("training", "trn"),
        "val": ("valid", "validation", "dev"),
        "test": ("testing", "tst"),
    }
)
#: Formats that do not keep the exact value of a pixel.
LOSSY = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
#: Inferred classes above this number mean that the masks do not hold class indices.
_MAX_INFERRED = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An image and its mask; `name` is their path below `images/`, without the suffix."""

    name: str
    image: Path
    mask: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderDataset:
    """Where the samples of a folder are. `labels` are the values of the classes in the masks.

    `labels` and `classes` are empty where no sound classes could be found; faults say why.
    """

    root: Path
    name: str
    classes: tuple[str, ...]
    labels: tuple[int, ...]
    ignore_index: int | None
    samples: Mapping[Split, tuple[Sample, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """A folder as found, with what is wrong about it; images have not been read."""

    dataset: FolderDataset
    faults: tuple[Fault, ...]
    warnings: tuple[str, ...]


def survey_folder(root: Path, split_seed: int) -> Survey:
    """Find the samples of a folder and collect faults; raises DataError only where it is none."""
    if not root.is_dir():
        raise DataError(f"{root}: {no_folder(root)}")
    declaration = read_declaration(root)
    faults = list(declaration.faults)
    warnings: list[str] = []
    warnings += _unused_folders(root)
    pairs = {folder: _pair(folder, faults, warnings) for folder in _sample_folders(root)}
    labels, values = declaration.labels, dict[Path, frozenset[int]]()
    is_split = root not in pairs
    if labels is None or not is_split:
        values = _mask_values([sample.mask for found in pairs.values() for sample in found])
    if labels is None and not declaration.faults:
        labels = _inferred(root, values, declaration.ignore_index, faults)
        if labels:
            found_names = ", ".join(labels.values())
            warnings.append(f"no classes in {DECLARATION_FILE}: found {found_names} in the masks")
    known = {} if labels is None else labels
    if is_split:
        samples = {split: pairs.get(root / split, ()) for split in SPLITS}
    else:
        samples = _divided(pairs[root], values, split_seed)
    blamed = {fault.path for fault in faults}
    empty = _empty_splits(root, samples, is_split=is_split)
    faults += [fault for fault in empty if fault.path not in blamed]
    dataset = FolderDataset(
        root=root,
        name=declaration.name,
        classes=tuple(known.values()),
        labels=tuple(known),
        ignore_index=declaration.ignore_index,
        samples=samples,
    )
    return Survey(dataset=dataset, faults=tuple(faults), warnings=tuple(warnings))


def no_folder(path: Path) -> str:
    """Why `path` is no dataset, where it is no folder."""
    return "a file: a dataset is a folder" if path.exists() else "no such folder"


def sample_files(root: Path) -> list[Path]:
    """Every file that an import of `root` may read, sorted."""
    folders = [folder / kind for folder in _sample_folders(root) for kind in (IMAGES, MASKS)]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return sorted(
        [*files, *(root / name for name in [DECLARATION_FILE] if (root / name).is_file())]
    )


def _sample_folders(root: Path) -> list[Path]:
    """The folders that hold `images` and `masks`: the splits', or the root itself."""
    if any((root / split).is_dir() for split in SPLITS):
        return [root / split for split in SPLITS if (root / split).is_dir()]
    return [root]


def _unused_folders(root: Path) -> list[str]:
    """A warning for each folder that looks like a part of the dataset and is none."""
    folders = _sample_folders(root)
    if root in folders:
        return []
    flat = [root / kind for kind in (IMAGES, MASKS) if (root / kind).is_dir()]
    aliases = [path for split, path in _misnamed(root) if root / split in folders]
    return [
        f"{path}: not used, for {', '.join(f'{folder.name}/' for folder in folders)} lie beside it"
        for path in [*flat, *aliases]
    ]


def _misnamed(root: Path) -> list[tuple[Split, Path]]:
    """The folders that seem to be a split under another name, and which split."""
    children = sorted(path for path in root.iterdir() if path.is_dir() and path.name not in SPLITS)
    return [
        (split, path)
        for path in children
        for split in SPLITS
        if path.name.lower() in (split, *_ALIASES[split])
    ]


def _pair(folder: Path, faults: list[Fault], warnings: list[str]) -> tuple[Sample, ...]:
    absent = [kind for kind in (IMAGES, MASKS) if not (folder / kind).is_dir()]
    if absent:
        missing = " and ".join(f"{kind}/" for kind in absent)
        problem = f"no {missing} here: expected images/ and masks/, or train|val|test with both"
        hints = [f"call {path.name}/ {split}/" for split, path in _misnamed(folder)]
        problem += f" ({', '.join(hints)})" if hints else ""
        faults.append(Fault(path=folder, problem=problem))
        return ()
    images = _by_name(folder / IMAGES, faults, warnings)
    masks = _by_name(folder / MASKS, faults, warnings)
    faults += [
        Fault(path=images[name], problem=f"this image has no mask {folder / MASKS / name}.*")
        for name in sorted(images.keys() - masks.keys())
    ]
    faults += [
        Fault(path=masks[name], problem=f"this mask has no image {folder / IMAGES / name}.*")
        for name in sorted(masks.keys() - images.keys())
    ]
    faults += [
        Fault(path=path, problem="JPEG changes the labels of pixels; save masks as PNG")
        for path in masks.values()
        if path.suffix.lower() in LOSSY
    ]
    both = sorted(images.keys() & masks.keys())
    return tuple(Sample(name=name, image=images[name], mask=masks[name]) for name in both)


def _by_name(folder: Path, faults: list[Fault], warnings: list[str]) -> dict[str, Path]:
    """The pictures below a folder by their path without suffix; hidden files are passed over."""
    readable = Image.registered_extensions().keys()
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts):
            continue
        if not path.is_file():
            faults += _link_faults(path)
            continue
        if path.suffix.lower() not in readable:
            warnings.append(f"{path}: not used, {path.suffix!r} is no suffix of an image")
            continue
        name = relative.with_suffix("").as_posix()
        if name in found:
            problem = f"has the same name as {found[name].name}: one of the two must go"
            faults.append(Fault(path=path, problem=problem))
        else:
            found[name] = path
    return found


def _link_faults(path: Path) -> list[Fault]:
    """What is wrong with something that is no file, where it is a link."""
    if not path.is_symlink():
        return []
    if path.is_dir():
        problem = "a link to a folder, which is not followed: link its files instead"
    else:
        problem = f"a link to {path.readlink()}, which does not exist"
    return [Fault(path=path, problem=problem)]


def _mask_values(masks: Sequence[Path]) -> dict[Path, frozenset[int]]:
    """The values in each mask; unreadable ones hold none here, the check reports them."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(masks, pool.map(_values_of, masks), strict=True))


def _values_of(mask: Path) -> frozenset[int]:
    try:
        labels = read_mask(mask)
    except DataError:
        return frozenset()
    return frozenset(int(value) for value in np.unique(labels))


def _inferred(
    root: Path, values: Mapping[Path, Iterable[int]], ignored: int | None, faults: list[Fault]
) -> dict[int, str]:
    found = sorted({value for some in values.values() for value in some} - {ignored})
    problem = _doubt(found)
    if problem is None:
        return {value: f"class_{value}" for value in found}
    if found:
        faults.append(Fault(path=root / DECLARATION_FILE, problem=problem))
    return {}


def _doubt(found: Sequence[int]) -> str | None:
    """Why the values found in masks cannot be taken for class indices, or None."""
    if list(found) == [0, 255]:
        return (
            "the masks hold 0 and 255: say what they are: `classes: {0: background, 255: NAME}`, "
            "or `ignore_index: 255`"
        )
    if len(found) > _MAX_INFERRED or (found and found[-1] > 255):
        return (
            f"the masks hold {len(found)} values up to {found[-1]}: this looks like grey or "
            "anti-aliased pictures; masks hold one class index a pixel. Name the classes"
        )
    if found and found[-1] == 255:
        return "the masks hold 255: if those pixels are to be ignored, write `ignore_index: 255`"
    if len(found) < 2:
        return f"the masks hold {len(found)} classes ({', '.join(map(str, found))}): at least 2"
    return None


def _divided(
    pairs: Sequence[Sample], values: Mapping[Path, frozenset[int]], seed: int
) -> dict[Split, tuple[Sample, ...]]:
    chosen = stratified_splits([values[sample.mask] for sample in pairs], seed)
    return {
        split: tuple(sample for sample, own in zip(pairs, chosen, strict=True) if own == split)
        for split in SPLITS
    }


def _empty_splits(
    root: Path, samples: Mapping[Split, Sequence[Sample]], *, is_split: bool
) -> list[Fault]:
    if not is_split and len(samples["test"]) == 0:
        count = sum(len(own) for own in samples.values())
        problem = f"3 samples or more are needed to divide into train, val and test, got {count}"
        return [Fault(path=root / IMAGES, problem=problem)]
    meant = {split: f" (call {path.name}/ {split}/)" for split, path in _misnamed(root)}
    return [
        Fault(
            path=root / split,
            problem=f"split {split} is empty: it needs images and masks{meant.get(split, '')}",
        )
        for split in SPLITS
        if not samples[split]
    ]
