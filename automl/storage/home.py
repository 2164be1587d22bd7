"""Where the files of a study are at home: in its folder, or in a store with a folder on each node.

Jobs and stages say what they need (`bring`) and what others need (`keep`), by paths in the folder
of their node; in a study that is at home in its folder both do nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from automl.records import short_hash
from automl.storage.dataset_share import dataset_here
from automl.storage.journal_copy import stored_journal
from automl.storage.location import cache_root, opened
from automl.storage.mirror import Mirror
from automl.store.journal import JOURNAL_NAME, parse_journal, read_journal
from automl.store.layout import StudyFolder


class Home(Protocol):
    """A value that travels with jobs; paths are those of the node that calls."""

    def root(self, given: Path) -> Path:
        """The study's folder on this node; `given` is that of the node that made the job."""

    def dataset(self, given: Path) -> Path:
        """The imported dataset on this node, fetched where it is not there."""

    def within(self, folder: str) -> Home:
        """The home of a study that lies in a folder of this one."""

    def bring(self, root: Path, *places: Path) -> None:
        """Have what the study holds at or below these places, whoever wrote it."""

    def keep(self, root: Path, *places: Path) -> None:
        """Have all others find what lies at or below these places, before it is relied on."""

    def events(self, root: Path) -> list[dict[str, Any]]:
        """The events of the study's journal."""


@dataclass(frozen=True, slots=True)
class FolderHome:
    """The study's folder is all that there is; every node sees it."""

    def root(self, given: Path) -> Path:
        """The same on every node."""
        return given

    def dataset(self, given: Path) -> Path:
        """The same on every node."""
        return given

    def within(self, folder: str) -> FolderHome:
        """Lies in the same file system."""
        return self

    def bring(self, root: Path, *places: Path) -> None:
        """Everything is there."""

    def keep(self, root: Path, *places: Path) -> None:
        """Everything is there."""

    def events(self, root: Path) -> list[dict[str, Any]]:
        """What the file says."""
        return read_journal(StudyFolder(root).journal_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketHome:
    """The study is at home below `url`; `inner` is the folder of a study that lies in it.

    `life` is the name of what lies there now: another one after `--overwrite`, so that no node goes
    on with files of the study that was there before.
    """

    url: str
    life: str
    inner: str = ""

    def root(self, given: Path) -> Path:
        """A folder of this node's cache."""
        return life_folder(self.url, self.life) / self.inner

    def dataset(self, given: Path) -> Path:
        """The dataset where it lies in this node's cache, else that which was sent to the store."""
        return dataset_here(self._mirror(), given)

    def within(self, folder: str) -> BucketHome:
        """Below the same URL."""
        return replace(self, inner=f"{self.inner}/{folder}" if self.inner else folder)

    def bring(self, root: Path, *places: Path) -> None:
        """Fetch what differs."""
        for place in places:
            self._mirror().bring(self._name(root, place))

    def keep(self, root: Path, *places: Path) -> None:
        """Send what has changed."""
        for place in places:
            self._mirror().keep(self._name(root, place))

    def events(self, root: Path) -> list[dict[str, Any]]:
        """What the store says; the file of this node, if there is one, is its writer's."""
        mirror = self._mirror()
        return parse_journal(f"{self.url}/{JOURNAL_NAME}", stored_journal(mirror.store))

    def _mirror(self) -> Mirror:
        return mirror_of(self.url, self.life)

    def _name(self, root: Path, place: Path) -> str:
        name = place.relative_to(root).as_posix()
        return f"{self.inner}/{name}" if self.inner else name


@cache
def mirror_of(url: str, life: str) -> Mirror:
    """The mirror of a study in this process, which remembers what it has seen."""
    return Mirror(opened(url), life_folder(url, life))


def life_folder(url: str, life: str) -> Path:
    """Where this node works on a study."""
    return cache_root() / "studies" / short_hash([url, life]) / url.rpartition("/")[2]
