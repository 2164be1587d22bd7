"""What a study owes its home: the journal's lines at once, files at the end of each stage."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from automl.storage.claim import Claim
from automl.storage.dataset_share import share_dataset
from automl.storage.home import BucketHome, FolderHome, Home, mirror_of
from automl.storage.journal_copy import JournalCopy
from automl.storage.reliable import Reliable
from automl.store.journal import JOURNAL_NAME, LineCopy, NoCopy


class Upkeep(Protocol):
    """What the stages of a study owe its home."""

    @property
    def home(self) -> Home:
        """What jobs are given."""

    def line_copy(self) -> LineCopy:
        """Where the journal's lines go as well."""

    def keep(self) -> None:
        """Have at home all that is finished; called at the end of each stage."""

    def share_dataset(self, root: Path) -> None:
        """Let nodes that do not see the folder `root` have the dataset in it."""


class NoUpkeep:
    """For a study that is at home in its folder."""

    home: Home = FolderHome()

    def line_copy(self) -> LineCopy:
        """The journal is the file."""
        return NoCopy()

    def keep(self) -> None:
        """All is there."""

    def share_dataset(self, root: Path) -> None:
        """Nodes that share a study's folder share the cache."""


class BucketUpkeep:
    """For a study in a store, of which this process holds the claim."""

    def __init__(self, store: Reliable, claim: Claim, life: str) -> None:
        self.home: Home = BucketHome(url=store.url, life=life)
        self._store = store
        self._claim = claim
        self._mirror = mirror_of(store.url, life)
        self._journal = self._mirror.root / JOURNAL_NAME

    def line_copy(self) -> LineCopy:
        """Segments in the store, for as long as the claim holds."""
        return _Claimed(self._claim, JournalCopy(self._store, self._journal))

    def keep(self) -> None:
        """Send what has changed, and the journal as a whole."""
        self._claim.check()
        JournalCopy(self._store, self._journal).fold(self._journal.stat().st_size)
        self._mirror.keep_study()

    def share_dataset(self, root: Path) -> None:
        """Send it to the store, where it is not there yet."""
        share_dataset(self._mirror, root)


class _Claimed:
    """Passes lines on while this process holds the study."""

    def __init__(self, claim: Claim, inner: JournalCopy) -> None:
        self._claim = claim
        self._inner = inner

    def take(self, start: int, line: bytes) -> None:
        """Keep a line; raises UnreachableError where another writer has the study."""
        self._claim.check()
        self._inner.take(start, line)
