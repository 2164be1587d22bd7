"""A folder of a store, fetched into this node's cache; what is there and unchanged stays.

What an object is known by is its size and the time at which the store had it written. Each file is
proven by the checksum that the store tells, where it tells one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from automl.errors import UsageError
from automl.records import short_hash
from automl.storage.location import cache_root, checked_url, opened, reachable
from automl.storage.objects import Entry
from automl.storage.reliable import Reliable, in_threads
from automl.store.atomic import write_json

_Stamps = Mapping[str, tuple[int, float]]


def fetch_tree(url: str, asked_by: str) -> Path:
    """All objects below a URL, or the one that it names, as a folder or a file here.

    Raises:
        UsageError: nothing is there, or the store refuses; `asked_by` is the option that named it.
    """
    checked = checked_url(url, asked_by)
    place = cache_root() / "fetched" / short_hash(checked) / checked.rpartition("/")[2]
    store = reachable(checked, asked_by)
    entries = store.entries("")
    if entries:
        _fetch(store, entries, place)
        return place
    parent, _, name = checked.rpartition("/")
    single = opened(parent)
    if not single.get_new_file(name, place):
        raise UsageError(f"{asked_by}: {checked}: nothing is there")
    return place


def _fetch(store: Reliable, entries: list[Entry], place: Path) -> None:
    wanted = {entry.key: (entry.size, entry.changed_s) for entry in entries}
    here = _index(place)
    changed = [key for key, stamp in wanted.items() if here.get(key) != stamp]
    in_threads(lambda key: store.get_new_file(key, place / key), changed)
    for key in here.keys() - wanted.keys():
        (place / key).unlink(missing_ok=True)
    write_json(_index_file(place), {key: list(stamp) for key, stamp in wanted.items()})


def _index(place: Path) -> _Stamps:
    """What was fetched as a whole before, and is still there in its size."""
    try:
        plain = json.loads(_index_file(place).read_bytes())
    except FileNotFoundError:
        return {}
    stamps = {key: (int(size), float(changed_s)) for key, (size, changed_s) in plain.items()}
    return {key: stamp for key, stamp in stamps.items() if _size(place / key) == stamp[0]}


def _index_file(place: Path) -> Path:
    """Beside the folder, in which everything has a meaning to who reads it."""
    return place.with_name(f".{place.name}.fetched.json")


def _size(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None
