"""`checksums.json`: the SHA-256 of every other file of a bundle. Needs no torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from automl.bundle.layout import CHECKSUMS, REQUIRED, golden_pairs


def write_checksums(folder: Path) -> None:
    """Write the checksums of all files below `folder`."""
    names = sorted(_names_in(folder) - {CHECKSUMS})
    checksums = {name: _sha256(folder / name) for name in names}
    (folder / CHECKSUMS).write_bytes(_render(checksums))


def file_faults(folder: Path) -> dict[str, str]:
    """What is wrong with the files below `folder`, by file name; empty for a whole bundle.

    Tells of files missing, changed or unexpected, symbolic links, names that lead out of the
    folder (which are not opened), golden samples without their partner. A changed byte is found in
    every file, in `checksums.json` itself because that has one valid form.
    """
    listed, faults = _read(folder / CHECKSUMS)
    present = _names_in(folder)
    faults.update({name: "missing" for name in REQUIRED if name not in present})
    for name, expected in listed.items():
        fault = _file_fault(folder, name, expected)
        if fault is not None:
            faults[name] = fault
    if CHECKSUMS not in faults:
        for name in present - set(listed) - {CHECKSUMS}:
            faults.setdefault(name, f"unexpected: {CHECKSUMS} does not list it")
    faults.update(_golden_faults(set(listed)))
    return dict(sorted(faults.items()))


def _golden_faults(names: set[str]) -> dict[str, str]:
    pairs, lonely = golden_pairs(names)
    faults = dict.fromkeys(lonely, f"{CHECKSUMS} lists no partner of this golden sample")
    if names and not pairs:
        faults["golden"] = "no golden sample"
    return faults


def _read(path: Path) -> tuple[Mapping[str, str], dict[str, str]]:
    if not path.is_file():
        return {}, {CHECKSUMS: "missing"}
    content = path.read_bytes()
    try:
        checksums = json.loads(content)["sha256"]
        valid = _render(checksums) == content
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return {}, {CHECKSUMS: f"not a list of checksums: {type(error).__name__}: {error}"}
    if not valid:
        return checksums, {CHECKSUMS: "changed: not in the form in which it is written"}
    return checksums, {}


def _render(checksums: Mapping[str, str]) -> bytes:
    for name, digest in checksums.items():
        if not isinstance(digest, str):
            raise TypeError(f"the checksum of {name} must be text, got {digest!r}")
    ordered = {name: checksums[name] for name in sorted(checksums)}
    return (json.dumps({"sha256": ordered}, indent=2) + "\n").encode()


def _file_fault(folder: Path, name: str, expected: str) -> str | None:
    if not _stays_inside(name):
        return f"{CHECKSUMS} names a path outside of the bundle; not opened"
    path = folder / name
    if _goes_through_link(folder, name):
        return "a symbolic link; a bundle holds plain files"
    if not path.is_file():
        return "missing"
    if _sha256(path) == expected:
        return None
    return f"changed: its SHA-256 is not the one in {CHECKSUMS}"


def _stays_inside(name: str) -> bool:
    pure = PurePosixPath(name)
    plain = str(pure) == name and "\\" not in name and ":" not in name and "\0" not in name
    return plain and not pure.is_absolute() and ".." not in pure.parts and name != "."


def _goes_through_link(folder: Path, name: str) -> bool:
    path = folder
    for part in PurePosixPath(name).parts:
        path = path / part
        if path.is_symlink():
            return True
    return False


def _names_in(folder: Path) -> set[str]:
    """Files below `folder` and links to folders, as POSIX paths."""
    names: set[str] = set()
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        names.update(Path(parent, name).relative_to(folder).as_posix() for name in files + links)
    return names


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
