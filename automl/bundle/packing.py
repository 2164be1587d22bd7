"""A bundle as one file, and back. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from automl.bundle.archive import render_archive
from automl.bundle.files import PACKED
from automl.bundle.loading import load_sound
from automl.errors import UsageError
from automl.store import atomic


def pack_bundle(bundle: Path, out: Path) -> int:
    """Write the bundle in folder `bundle` as one file; the number of its files.

    The same files give the same bytes. Raises BundleError for a damaged bundle.
    """
    if not out.name.endswith(PACKED):
        raise UsageError(f"--out: the name of a packed bundle ends in {PACKED}, got {out}")
    if out.resolve().is_relative_to(bundle.resolve()):
        raise UsageError(f"--out: a place outside of the bundle {bundle}, got {out}")
    contents = sound_contents(bundle)
    atomic.write_bytes(out, render_archive(contents))
    return len(contents)


def unpack_bundle(packed: Path, out: Path) -> int:
    """Write the files of a packed bundle into the new folder `out`; the number of files.

    The whole file is checked first: nothing is written of one that is damaged, or that
    `pack_bundle` would not have written.
    """
    if packed.is_dir():
        raise UsageError(f"{packed}: a folder: this bundle is not packed")
    if out.exists():
        raise UsageError(f"--out: exists already, name a new folder: {out}")
    contents = sound_contents(packed)
    write_files(out, contents)
    return len(contents)


def sound_contents(bundle: Path) -> dict[str, bytes]:
    """All files of a bundle by name; raises BundleError where one is damaged."""
    sound = load_sound(bundle)
    return {name: sound.files.read(name) for name in sorted(sound.files.names())}


def write_contents(bundle: Path, contents: Mapping[str, bytes]) -> None:
    """Replace all files of a bundle, in the form that it has, folder or packed."""
    if bundle.is_dir():
        write_files(bundle, contents)
    else:
        atomic.write_bytes(bundle, render_archive(contents))


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Make `folder` of these files alone, whole or not at all; names must stay inside."""
    with atomic.staged_folder(folder) as staged:
        for name, content in contents.items():
            path = staged / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
