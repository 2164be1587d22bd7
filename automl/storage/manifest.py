"""Units: what of a study is written and read as one, and the manifest that says what is in it.

A unit is a file or a folder of a study: the checkpoints of a trial, a candidate, the report. Its
files lie in the store under the names that they have in the study; its manifest, which is written
last, has the size and the SHA-256 of each. So a unit whose files get new names, as checkpoints do,
changes from one whole state to the next.

A file that is replaced under its name differs from its manifest until the next one is written.
Before that the manifest says what is `coming`: a reader takes the old or the new content.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from automl.records import canonical_json
from automl.storage.objects import UnreachableError
from automl.storage.reliable import Digest

#: Where everything lies in a store that is no file of the study.
OWN = ".automl"
#: Says that a study lies here, and which life of it: `--overwrite` begins another.
LIFE_KEY = f"{OWN}/study.json"
_MANIFESTS = f"{OWN}/manifests"
_SUFFIX = ".json"

#: How many names of a path name a unit, by the first of them; one for all others.
_DEPTH: Mapping[str, int] = {
    "trials": 3,
    "candidates": 2,
    "bundles": 2,
    "costs": 2,
    "proxies": 2,
}
_STUDIES_WITHIN = "finalists"
#: What workers read and write by themselves, and a study need not have on the machine it runs on.
_OF_JOBS = frozenset({"trials", "costs", "proxies", "dataset"})
_NEVER_KEPT = frozenset({"ray", "teaching", "journal.jsonl", "journal.lock", "dataset"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitManifest:
    """The files of a unit by their names in the study; `coming` are contents on their way."""

    files: Mapping[str, Digest] = field(default_factory=dict)
    coming: Mapping[str, Digest] = field(default_factory=dict)

    def allowed(self, name: str) -> tuple[Digest, ...]:
        """What a file may hold."""
        found = (self.files.get(name), self.coming.get(name))
        return tuple(digest for digest in found if digest is not None)


def unit_of(name: str) -> str | None:
    """The unit that a file of a study belongs to; None for what stays on its machine."""
    parts = PurePosixPath(name).parts
    if parts[0] == _STUDIES_WITHIN and len(parts) > 2:
        inner = unit_of("/".join(parts[2:]))
        return None if inner is None else "/".join([*parts[:2], inner])
    if parts[0] in _NEVER_KEPT or any(part.startswith(".") for part in parts):
        return None
    return "/".join(parts[: _DEPTH.get(parts[0], 1)])


def is_of_jobs(unit: str) -> bool:
    """Whether jobs keep this unit themselves."""
    parts = unit.split("/")
    return (parts[2] if parts[0] == _STUDIES_WITHIN else parts[0]) in _OF_JOBS


def manifest_key(unit: str) -> str:
    """Where a unit's manifest lies."""
    return f"{_MANIFESTS}/{unit}{_SUFFIX}"


def manifests_below(place: str) -> str:
    """The folder of the manifests of all units below a place."""
    return f"{_MANIFESTS}/{place}" if place else _MANIFESTS


def unit_of_manifest(key: str) -> str:
    """The unit whose manifest lies there."""
    return key.removeprefix(f"{_MANIFESTS}/").removesuffix(_SUFFIX)


def manifest_bytes(manifest: UnitManifest) -> bytes:
    """A manifest as it lies in the store."""
    plain = {"files": _plain(manifest.files), "coming": _plain(manifest.coming)}
    return canonical_json(plain).encode()


def read_manifest(key: str, content: bytes) -> UnitManifest:
    """A manifest from the store; raises UnreachableError on one that is not ours."""
    try:
        plain = json.loads(content)
        return UnitManifest(files=_digests(plain["files"]), coming=_digests(plain["coming"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreachableError(f"{key}: not a manifest of this program: {error}") from error


def _plain(digests: Mapping[str, Digest]) -> dict[str, object]:
    return {name: [digest.size, digest.sha256] for name, digest in sorted(digests.items())}


def _digests(plain: Mapping[str, tuple[int, str]]) -> dict[str, Digest]:
    return {name: Digest(int(size), str(sha256)) for name, (size, sha256) in plain.items()}
