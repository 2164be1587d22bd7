"""`checksums.json`: the SHA-256 of every other file of a bundle. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from automl.bundle.files import BundleFiles, FolderFiles, sha256, stays_inside
from automl.bundle.layout import CHECKSUMS, REQUIRED, SIGNATURE, golden_pairs

_LINK = "a symbolic link; a bundle holds plain files"


def write_checksums(folder: Path) -> None:
    """Write the checksums of all files below `folder`."""
    files = FolderFiles(folder)
    names = files.names() - {CHECKSUMS, SIGNATURE}
    (folder / CHECKSUMS).write_bytes(
        render_checksums({name: sha256(files.read(name)) for name in names})
    )


def listed_checksums(files: BundleFiles) -> Mapping[str, str]:
    """The SHA-256 of each file as `checksums.json` gives it; empty where it gives none."""
    return _read(files)[0]


def file_faults(files: BundleFiles) -> dict[str, str]:
    """What is wrong with the files of a bundle, by file name; empty for a whole bundle.

    Tells of files missing, changed or unexpected, symbolic links, names that lead out of the
    bundle (which are not opened), golden samples without their partner. A changed byte is found in
    every file, in `checksums.json` itself because that has one valid form; in a signature, which
    nothing lists, only by who has the public key.
    """
    listed, faults = _read(files)
    present, links = files.names(), files.links()
    faults.update({name: "missing" for name in REQUIRED if name not in present})
    for name, expected in listed.items():
        fault = _file_fault(files, name, expected)
        if fault is not None:
            faults[name] = fault
    if CHECKSUMS not in faults:
        for name in present - set(listed) - {CHECKSUMS, SIGNATURE}:
            faults.setdefault(name, f"unexpected: {CHECKSUMS} does not list it")
    for name in links & {CHECKSUMS, SIGNATURE}:
        faults[name] = _LINK
    faults.update(_golden_faults(set(listed)))
    return dict(sorted(faults.items()))


def _golden_faults(names: set[str]) -> dict[str, str]:
    pairs, lonely = golden_pairs(names)
    faults = dict.fromkeys(lonely, f"{CHECKSUMS} lists no partner of this golden sample")
    if names and not pairs:
        faults["golden"] = "no golden sample"
    return faults


def _read(files: BundleFiles) -> tuple[Mapping[str, str], dict[str, str]]:
    if CHECKSUMS not in files.names() - files.links():
        return {}, {CHECKSUMS: "missing"}
    content = files.read(CHECKSUMS)
    try:
        checksums = json.loads(content)["sha256"]
        valid = render_checksums(checksums) == content
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return {}, {CHECKSUMS: f"not a list of checksums: {type(error).__name__}: {error}"}
    if not valid:
        return checksums, {CHECKSUMS: "changed: not in the form in which it is written"}
    return checksums, {}


def render_checksums(checksums: Mapping[str, str]) -> bytes:
    """The content of `checksums.json`: one form for one list."""
    for name, digest in checksums.items():
        if not isinstance(digest, str):
            raise TypeError(f"the checksum of {name} must be text, got {digest!r}")
    ordered = {name: checksums[name] for name in sorted(checksums)}
    return (json.dumps({"sha256": ordered}, indent=2) + "\n").encode()


def _file_fault(files: BundleFiles, name: str, expected: str) -> str | None:
    if not stays_inside(name):
        return f"{CHECKSUMS} names a path outside of the bundle; not opened"
    if name in (CHECKSUMS, SIGNATURE):
        return f"{CHECKSUMS} lists it, which no bundle does"
    parents = {parent.as_posix() for parent in PurePosixPath(name).parents}
    if files.links() & {name, *parents}:
        return _LINK
    if name not in files.names():
        return "missing"
    if sha256(files.read(name)) == expected:
        return None
    return f"changed: its SHA-256 is not the one in {CHECKSUMS}"
