"""What a reading command is given, in a folder here: a study, a trial of one, a bundle, a file."""

from __future__ import annotations

from pathlib import Path

from automl.records import short_hash
from automl.storage.fetching import fetch_tree
from automl.storage.journal_copy import stored_journal
from automl.storage.location import cache_root, checked_url, reachable
from automl.storage.manifest import LIFE_KEY, is_of_jobs
from automl.storage.mirror import Mirror
from automl.store.atomic import write_bytes
from automl.store.journal import JOURNAL_NAME

#: How many names of a URL, from its end, may lie in a study: `trials/<id>/checkpoint` is three.
_DEEPEST = 4


def fetched(url: str, asked_by: str) -> Path:
    """The path here of what a URL names; what a study's URL names is read as its searcher would.

    A study whose search runs is fetched as it is by now, and is not disturbed.

    Raises:
        UsageError: nothing is there, or the store refuses.
    """
    checked = checked_url(url, asked_by)
    root, inner = checked, ""
    for _ in range(_DEEPEST):
        if "/" not in root.partition("://")[2]:
            break
        store = reachable(root, asked_by)
        if store.get_bytes(LIFE_KEY) is not None:
            here = cache_root() / "fetched" / short_hash(root) / root.rpartition("/")[2]
            return _study_part(Mirror(store, here), inner)
        root, _, name = root.rpartition("/")
        inner = f"{name}/{inner}" if inner else name
    return fetch_tree(checked, asked_by)


def _study_part(mirror: Mirror, inner: str) -> Path:
    """Fetch a part of a study, by the name of a unit or the number or id of a trial."""
    below = [u for u in mirror.units("") if inner and (u == inner or u.startswith(f"{inner}/"))]
    if below:
        for unit in below:
            mirror.bring_unit(unit)
        return mirror.root / inner
    for unit in mirror.units(""):
        if not is_of_jobs(unit) or _is_of_trial(unit, inner):
            mirror.bring_unit(unit)
    write_bytes(mirror.root / JOURNAL_NAME, stored_journal(mirror.store))
    return mirror.root / inner if inner else mirror.root


def _is_of_trial(unit: str, name: str) -> bool:
    """Whether a unit is of the trial of this number or id, or of a student of that name."""
    kind, _, rest = unit.partition("/")
    trial = rest.partition("/")[0]
    is_number = name.isdecimal() and trial.startswith(f"{int(name):04d}-")
    return kind == "trials" and bool(name) and (is_number or trial.startswith(name))
