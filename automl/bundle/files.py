"""The files of a bundle by name, in a folder or in one packed file. Needs no torch.

Whatever reads a bundle reads it through these, so a packed one is used without being unpacked:
nothing of it is written to the disk.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from automl.bundle.archive import MAX_BYTES, parse_archive
from automl.errors import BundleError

#: How the names of packed bundles end.
PACKED = ".automl.zip"


class BundleFiles(Protocol):
    """What can be read of a bundle; names are relative POSIX paths."""

    def names(self) -> frozenset[str]:
        """Every file, and every symbolic link."""

    def links(self) -> frozenset[str]:
        """Those of the names that are symbolic links, to files or to folders."""

    def read(self, name: str) -> bytes:
        """The content of one of `names`."""


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The files below a folder, read when they are asked for."""

    folder: Path

    def names(self) -> frozenset[str]:
        """Files below the folder and links to folders; what is neither is left out."""
        return frozenset(
            name for name, path in self._paths() if path.is_file() or path.is_symlink()
        )

    def links(self) -> frozenset[str]:
        """Symbolic links below the folder."""
        return frozenset(name for name, path in self._paths() if path.is_symlink())

    def read(self, name: str) -> bytes:
        """The content of a file."""
        return (self.folder / name).read_bytes()

    def _paths(self) -> list[tuple[str, Path]]:
        found: list[Path] = []
        for parent, folders, files in os.walk(self.folder):
            links = [name for name in folders if Path(parent, name).is_symlink()]
            found.extend(Path(parent, name) for name in files + links)
        return [(path.relative_to(self.folder).as_posix(), path) for path in found]


@dataclass(frozen=True, slots=True)
class PackedFiles:
    """The files of a packed bundle, held in memory."""

    contents: Mapping[str, bytes] = field(repr=False)

    def names(self) -> frozenset[str]:
        """All files."""
        return frozenset(self.contents)

    def links(self) -> frozenset[str]:
        """None: a packed bundle cannot hold a link."""
        return frozenset()

    def read(self, name: str) -> bytes:
        """The content of a file."""
        return self.contents[name]


def open_files(path: Path) -> BundleFiles:
    """The files of the bundle at `path`, a folder or a packed file; raises BundleError.

    A packed file is read at once and refused as a whole where anything in it is not as
    `automl bundle pack` writes it.
    """
    if path.is_dir():
        return FolderFiles(path)
    if not path.is_file():
        raise BundleError(f"{path}: no bundle: no such folder, and no such packed file")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise BundleError(
            f"{path}: no packed bundle: at most {MAX_BYTES >> 20} MiB are read, it has "
            f"{size >> 20} MiB"
        )
    contents = parse_archive(path.read_bytes(), name=str(path))
    for name in contents:
        if not stays_inside(name):
            raise BundleError(f"{path}: holds a path outside of the bundle, {name!r}; not opened")
    return PackedFiles(contents)


def stays_inside(name: str) -> bool:
    """Whether a name is a plain relative path that leads nowhere else on any system."""
    pure = PurePosixPath(name)
    plain = str(pure) == name and name.isprintable() and not set(name) & set('\\:*?"<>|')
    return plain and not pure.is_absolute() and ".." not in pure.parts and name != "."


def sha256(content: bytes) -> str:
    """The SHA-256 of some content, in hex."""
    return hashlib.sha256(content).hexdigest()
