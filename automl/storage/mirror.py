"""A study's files here and in the store: `bring` fetches units, `keep` sends them.

What the store holds is true: `bring` replaces what differs here, so that a study which was cut
short between a write here and one there goes on from what the store has.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from automl.storage.manifest import (
    UnitManifest,
    is_of_jobs,
    manifest_bytes,
    manifest_key,
    manifests_below,
    read_manifest,
    unit_of,
    unit_of_manifest,
)
from automl.storage.objects import UnreachableError
from automl.storage.reliable import Digest, Reliable, file_digest, in_threads

#: How often a unit is read again that changes while it is read.
_READINGS = 5

_Stamp = tuple[int, int, int]


class Mirror:
    """The folder `root` and its store; one for each process, which remembers what it has hashed."""

    def __init__(self, store: Reliable, root: Path) -> None:
        self.store = store
        self.root = root
        self._hashed: dict[str, tuple[_Stamp, Digest]] = {}
        #: Units that are the same here and there, as far as this process knows.
        self._known: dict[str, UnitManifest] = {}
        #: Units of which the store holds no more files than their manifests say.
        self._tidy: set[str] = set()
        #: Units that could not be kept to the end.
        self._begun: set[str] = set()

    def bring(self, place: str) -> None:
        """Fetch the units at or below a place of the study, where they differ from those here.

        What the store has never had stays as it is.
        """
        for unit in self.units(place):
            self.bring_unit(unit)

    def bring_study(self) -> None:
        """Fetch all but what jobs fetch themselves, and remove what the store does not have."""
        there = {unit for unit in self.units("") if not is_of_jobs(unit)}
        for unit in sorted(there):
            self.bring_unit(unit)
        for unit, names in self._units_here("").items():
            if not is_of_jobs(unit) and unit not in there:
                for name in names:
                    (self.root / name).unlink()
                _remove_empty_folders(self.root / unit)

    def keep(self, place: str) -> None:
        """Send the units at or below a place that have changed; one that is gone here goes there.

        A unit of the store that this process neither brought nor kept stays as it is.
        """
        here = self._units_here(place)
        gone = [u for u in self._handled() if _is_at(u, place) and u not in here]
        for unit, names in [*here.items(), *((unit, []) for unit in gone)]:
            self._keep_unit(unit, {name: self.root / name for name in names})

    def keep_study(self) -> None:
        """Send all that has changed but what jobs send themselves."""
        here = {u: names for u, names in self._units_here("").items() if not is_of_jobs(u)}
        gone = [u for u in self._handled() if u not in here and not is_of_jobs(u)]
        for unit, names in [*here.items(), *((unit, []) for unit in gone)]:
            self._keep_unit(unit, {name: self.root / name for name in names})

    def keep_as(self, unit: str, folder: Path) -> None:
        """Send a folder that lies elsewhere as this unit."""
        files = {f"{unit}/{name}": folder / name for name in _files_below(folder)}
        self._keep_unit(unit, files)

    def manifest(self, unit: str) -> UnitManifest | None:
        """What the store holds of a unit; None where it has none."""
        key = manifest_key(unit)
        content = self.store.get_bytes(key)
        return None if content is None else read_manifest(f"{self.store.url}/{key}", content)

    def units(self, place: str) -> list[str]:
        """The units of the store at or below a place; one that may be there, if it is one."""
        if place and unit_of(place) == place == unit_of(f"{place}/file"):
            return [place]
        return [unit_of_manifest(e.key) for e in self.store.entries(manifests_below(place))]

    # ------------------------------------------------------------------ one unit

    def bring_unit(self, unit: str) -> None:
        """Fetch what differs of one unit, and remove what is not in it."""
        before: UnitManifest | None = None
        for _ in range(_READINGS):
            manifest = self.manifest(unit)
            if manifest is None or (manifest == self._known.get(unit) and self._is_here(manifest)):
                return
            missing = [name for name, got in self._fetched(manifest) if not got]
            if not missing:
                self._remove_others(unit, manifest)
                self._known[unit] = manifest
                return
            if manifest == before:
                break
            before = manifest  # another process has replaced the unit meanwhile, or so it seems
        raise UnreachableError(
            f"{self.store.url}/{missing[0]}: is not there, but in the manifest of {unit}: "
            "something else than this program removed it; restore it, or start anew with "
            "--overwrite"
        )

    def _fetched(self, manifest: UnitManifest) -> list[tuple[str, bool]]:
        wanted = [
            name for name in manifest.files if self._digest(name) not in manifest.allowed(name)
        ]

        def fetch(name: str) -> bool:
            return self.store.get_file(name, self.root / name, manifest.allowed(name))

        return list(zip(wanted, in_threads(fetch, wanted), strict=True))

    def _keep_unit(self, unit: str, files: dict[str, Path]) -> None:
        now = {name: digest for name, path in files.items() if (digest := self._hash(name, path))}
        known = self._known.get(unit)
        if known is not None and known.files == now and unit not in self._begun:
            return
        if unit in self._begun:
            self._tidy.discard(unit)
        self._begun.add(unit)
        found = self.manifest(unit)
        there = UnitManifest() if found is None else found
        changed = [name for name, digest in now.items() if there.allowed(name) != (digest,)]
        replaced = {name: now[name] for name in changed if name in there.files}
        if replaced:
            self._put(unit, UnitManifest(files=there.files, coming=replaced))
        in_threads(lambda name: self.store.put_file(name, files[name]), changed)
        if now:
            manifest = UnitManifest(files=now)
            if manifest != found:
                self._put(unit, manifest)
            self._known[unit] = manifest
        else:
            self.store.delete(manifest_key(unit))
            self._known.pop(unit, None)
        in_threads(self.store.delete, self._left_over(unit, there, now))
        self._tidy.add(unit)
        self._begun.discard(unit)

    def _left_over(self, unit: str, before: UnitManifest, now: Mapping[str, Digest]) -> list[str]:
        """What the store has of a unit that is not in it; a writer that was killed left the rest.

        That is looked for once, and again after a fault.
        """
        names = set(before.files)
        if unit not in self._tidy:
            names |= {entry.key for entry in self.store.entries(unit)}
        return sorted(names - now.keys())

    def _handled(self) -> list[str]:
        return sorted(self._known.keys() | self._begun)

    def _put(self, unit: str, manifest: UnitManifest) -> None:
        self.store.put_bytes(manifest_key(unit), manifest_bytes(manifest))

    def _remove_others(self, unit: str, manifest: UnitManifest) -> None:
        for name in self._units_here(unit).get(unit, []):
            if name not in manifest.files:
                (self.root / name).unlink(missing_ok=True)
        _remove_empty_folders(self.root / unit)

    # ------------------------------------------------------------------ what is where

    def _units_here(self, place: str) -> dict[str, list[str]]:
        """The files of each unit at or below a place."""
        base = self.root / place
        found: dict[str, list[str]] = {}
        names = [place] if base.is_file() else [_joined(place, n) for n in _files_below(base)]
        for name in names:
            unit = unit_of(name)
            if unit is not None:
                found.setdefault(unit, []).append(name)
        return found

    def _is_here(self, manifest: UnitManifest) -> bool:
        return all(self._digest(name) == digest for name, digest in manifest.files.items())

    def _digest(self, name: str) -> Digest | None:
        return self._hash(name, self.root / name)

    def _hash(self, name: str, path: Path) -> Digest | None:
        """The digest of a file, which is hashed once for as long as it stays as it is."""
        try:
            status = path.stat()
            stamp = (status.st_size, status.st_mtime_ns, status.st_ino)
            known = self._hashed.get(name)
            if known is None or known[0] != stamp:
                known = self._hashed[name] = (stamp, file_digest(path))
        except FileNotFoundError:
            return None
        return known[1]


def _is_at(unit: str, place: str) -> bool:
    return unit == place or unit.startswith(f"{place}/")


def _joined(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name


def _files_below(folder: Path) -> list[str]:
    """The names of all files below a folder but hidden ones, in order."""
    return sorted(_walk(folder, ""))


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")
        elif entry.is_file(follow_symlinks=False):
            yield f"{prefix}{entry.name}"


def _remove_empty_folders(folder: Path) -> None:
    for parent, _, _ in os.walk(folder, topdown=False):
        if not any(Path(parent).iterdir()):
            Path(parent).rmdir()
