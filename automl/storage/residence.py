"""Where the one writer of a study works: opened once a command, let go at its end."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from automl.errors import UsageError
from automl.storage.claim import Claim, Times, Writer, claimed, writer_here
from automl.storage.home import life_folder, mirror_of
from automl.storage.journal_copy import remove_journal, stored_journal
from automl.storage.location import checked_url, is_url, reachable
from automl.storage.manifest import LIFE_KEY, OWN
from automl.storage.reliable import Reliable
from automl.storage.upkeep import BucketUpkeep, NoUpkeep, Upkeep
from automl.store.atomic import write_bytes
from automl.store.journal import JOURNAL_NAME
from automl.store.layout import StudyFolder

_WRITERS = f"{OWN}/writers/"


class Residence(Protocol):
    """A study of which this process is the writer."""

    @property
    def shown(self) -> str:
        """What the user calls it."""

    @property
    def root(self) -> Path:
        """The folder in which it is worked on."""

    @property
    def upkeep(self) -> Upkeep:
        """For the stages."""

    def begin(self) -> None:
        """Have in the folder what the study holds."""

    def clear(self) -> None:
        """Remove the study, for `--overwrite`."""


class FolderResidence:
    """A folder that every node sees."""

    def __init__(self, root: Path, shown: str) -> None:
        self.root = root
        self.shown = shown
        self.upkeep: Upkeep = NoUpkeep()

    def begin(self) -> None:
        """All is there."""

    def clear(self) -> None:
        """Remove what this program wrote; raises UsageError where there are other files, too."""
        StudyFolder(self.root).clear()


class BucketResidence:
    """A claim on a study in a store, and this node's folder for it."""

    def __init__(self, store: Reliable, claim: Claim) -> None:
        self.shown = store.url
        self._store = store
        self._claim = claim
        self._life = _life(store)

    @property
    def root(self) -> Path:
        """A folder of this node's cache."""
        return life_folder(self._store.url, self._life)

    @property
    def upkeep(self) -> Upkeep:
        """For the stages."""
        return BucketUpkeep(self._store, self._claim, self._life)

    def begin(self) -> None:
        """Fetch all but what jobs fetch themselves."""
        mirror_of(self._store.url, self._life).bring_study()
        write_bytes(self.root / JOURNAL_NAME, stored_journal(self._store))

    def clear(self) -> None:
        """Remove the study there and here, the journal first; another life begins."""
        remove_journal(self._store)
        for entry in self._store.entries(""):
            if entry.key != LIFE_KEY and not entry.key.startswith(_WRITERS):
                self._store.delete(entry.key)
        shutil.rmtree(self.root, ignore_errors=True)
        self._life = _new_life(self._store)


@contextmanager
def resident(
    out: str, *, tell: Callable[[str], None], times: Times | None = None
) -> Iterator[Residence]:
    """Open the study that `out` names, a folder or the URL of one.

    Nothing is fetched, and no study changed. `tell` is told where that takes a while.

    Raises:
        UsageError: no such bucket, no access, another writer, or files there that are no study's.
    """
    if not is_url(out):
        yield FolderResidence(Path(out).absolute(), out)
        return
    store = reachable(checked_url(out, "--out"), "--out")
    _refuse_foreign(store)
    writer: Writer = writer_here()
    with claimed(store, writer, Times() if times is None else times, tell=tell) as claim:
        yield BucketResidence(store, claim)


def _refuse_foreign(store: Reliable) -> None:
    keys = [entry.key for entry in store.entries("")]
    foreign = sorted({key.partition("/")[0] for key in keys} - {OWN})
    if foreign and LIFE_KEY not in keys:
        shown = ", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else "")
        raise UsageError(
            f"--out: {store.url} holds what is no study that was searched there (found {shown}): "
            "choose another prefix. A study that was copied there goes on in a folder: copy it back"
        )


def _life(store: Reliable) -> str:
    content = store.get_bytes(LIFE_KEY)
    return _new_life(store) if content is None else str(json.loads(content)["life"])


def _new_life(store: Reliable) -> str:
    life = secrets.token_hex(6)
    store.put_bytes(LIFE_KEY, json.dumps({"life": life}).encode())
    return life
