"""Which images a user means by files, folders and patterns, and where their masks go."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from automl.data.video import VIDEO_SUFFIXES
from automl.errors import UsageError

#: What is taken for an image in a folder; a file that is named is tried whatever its name.
IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)


@dataclass(frozen=True, slots=True)
class Input:
    """An image or a video; `stem` is where its results go in a folder, without a suffix."""

    path: Path
    stem: Path

    @property
    def is_video(self) -> bool:
        """Whether it has frames."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def find_inputs(given: Sequence[str], *, recursive: bool) -> list[Input]:
    """All images and videos that are meant, folders and patterns in the order of their names.

    The place of a file is its name; below a folder that was given it is the path from there. Raises
    UsageError where nothing is found, or where two would have one place.
    """
    inputs: dict[Path, Input] = {}
    for word in given:
        found = list(_found(word, recursive=recursive))
        if not found:
            raise UsageError(f"{word}: {_nothing(word, recursive=recursive)}")
        for each in found:
            inputs.setdefault(each.path.resolve(), each)
    _check_places(inputs.values())
    return list(inputs.values())


def is_pattern(word: str) -> bool:
    """Whether a word is a pattern such as `photos/*.jpg`, and no file's name."""
    return glob.has_magic(word) and not Path(word).exists()


def _found(word: str, *, recursive: bool) -> Iterator[Input]:
    path = Path(word)
    if path.is_dir():
        for file in _files_in(path, recursive=recursive):
            yield Input(file, file.relative_to(path).with_suffix(""))
    elif is_pattern(word):
        for name in sorted(glob.glob(word, recursive=True)):  # noqa: PTH207  (relative or not)
            if Path(name).is_file():
                yield Input(Path(name), Path(Path(name).stem))
    else:
        yield Input(path, Path(path.stem))


def _files_in(folder: Path, *, recursive: bool) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        if not recursive:
            folders.clear()
        for name in sorted(names):
            if Path(name).suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
                yield Path(parent, name)


def _nothing(word: str, *, recursive: bool) -> str:
    if not Path(word).is_dir():
        return "no file has a name of this pattern"
    more = "" if recursive else "; --recursive looks in the folders below as well"
    return f"no image or video in this folder{more}"


def _check_places(inputs: Iterable[Input]) -> None:
    places: dict[Path, Path] = {}
    for each in inputs:
        other = places.setdefault(each.stem, each.path)
        if other != each.path:
            raise UsageError(
                f"{other} and {each.path} would both be {each.stem} in --out: "
                "give one of them a run of its own"
            )
