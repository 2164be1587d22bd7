"""Requests that are repeated until they succeed, and writes that are proven.

A store may be out of reach for a while, answer 5xx, or keep half of what it was sent. Each request
is tried again, with waits that double and are drawn at random, for as long as patience lasts. What
was written counts once the store gives back its size and checksum, or else its content.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from automl.errors import UsageError
from automl.storage.objects import (
    Entry,
    NoObjectError,
    Objects,
    RefusedError,
    TransientError,
    UnreachableError,
)
from automl.store.atomic import staged_file

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_AT_A_TIME = 8
_CHUNK = 4 * 1024 * 1024
_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 15.0
_PATIENCE_S = 120.0
_PATIENCE_NAME = "AUTOML_STORAGE_PATIENCE_S"


@dataclass(frozen=True, slots=True)
class Digest:
    """Size and SHA-256 of a content."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request is repeated; clock, sleep and chance are arguments of tests."""

    seconds: float = _PATIENCE_S
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random

    def waits(self) -> Iterator[float]:
        """Waits between attempts: at random up to a bound that doubles, until patience ends."""
        started, bound = self.clock(), _FIRST_WAIT_S
        while self.clock() - started < self.seconds:
            yield bound * (0.5 + 0.5 * self.chance())
            bound = min(2 * bound, _LONGEST_WAIT_S)


def patience_here() -> Patience:
    """Two minutes, or what `$AUTOML_STORAGE_PATIENCE_S` says; raises UsageError on no number."""
    named = os.environ.get(_PATIENCE_NAME, "")
    try:
        seconds = float(named) if named else _PATIENCE_S
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise UsageError(f"{_PATIENCE_NAME}: given {named!r}; allowed: seconds, 0 or more")
    return Patience(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Reliable:
    """The objects below `url`, each request repeated. Raises UnreachableError when it gives up."""

    url: str
    objects: Objects
    patience: Patience = field(default_factory=Patience)

    def put_bytes(self, key: str, content: bytes) -> None:
        """Write an object and prove it."""
        digests = _Digests(iter([content]))
        self._attempt(f"write {key}", lambda: self._put(key, lambda: iter([content]), digests))

    def put_file(self, key: str, path: Path) -> None:
        """Write a file's content and prove it; the file does not change meanwhile."""
        digests = _Digests(file_chunks(path))
        self._attempt(f"write {key}", lambda: self._put(key, lambda: file_chunks(path), digests))

    def get_bytes(self, key: str) -> bytes | None:
        """The content, as long as the store says and with its checksum; None for no such object."""
        return self._attempt(f"read {key}", lambda: self._content(key))

    def get_file(self, key: str, path: Path, allowed: Iterable[Digest]) -> bool:
        """Put the content into a file, whole or not at all; False where there is no such object.

        It has one of the `allowed` digests, or the request is repeated.
        """
        wanted = frozenset(allowed)
        return self._attempt(f"read {key}", lambda: self._get(key, path, wanted))

    def get_new_file(self, key: str, path: Path) -> bool:
        """As `get_file`, for one of which nothing is known: it is as the store says that it is."""
        return self._attempt(f"read {key}", lambda: self._get_new(key, path))

    def entries(self, prefix: str) -> list[Entry]:
        """The objects below a folder."""
        return self._attempt(f"list {prefix or 'all'}", lambda: self.objects.entries(prefix))

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        self._attempt(f"delete {key}", lambda: self.objects.delete(key))

    def _content(self, key: str) -> bytes | None:
        try:
            content = b"".join(self.objects.read(key))
            state = self.objects.state(key)
        except NoObjectError:
            return None
        found = _Digests(iter([content]))
        if len(content) != state.size or state.md5 not in (None, found.md5):
            raise TransientError(f"{len(content)} of {state.size} bytes arrived, or others")
        return content

    def _put(self, key: str, chunks: Callable[[], Iterator[bytes]], digests: _Digests) -> None:
        self.objects.write(key, chunks())
        try:
            state = self.objects.state(key)
            if state.size == digests.digest.size and state.md5 == digests.md5:
                return
            # Files that went in parts, or encrypted by the store's keys, have other checksums.
            whole = state.size == digests.digest.size
            if whole and _Digests(self.objects.read(key)).digest == digests.digest:
                return
        except NoObjectError:
            raise TransientError("it is not there after it was written") from None
        raise TransientError(f"{state.size} of {digests.digest.size} bytes as written arrived")

    def _get_new(self, key: str, path: Path) -> bool:
        try:
            with staged_file(path) as staged:
                self._fill(key, staged)
                state, found = self.objects.state(key), _Digests(file_chunks(staged))
                if found.digest.size != state.size or state.md5 not in (None, found.md5):
                    raise TransientError(f"{found.digest.size} of {state.size} bytes, or others")
        except NoObjectError:
            return False
        return True

    def _fill(self, key: str, file: Path) -> None:
        with file.open("wb") as stream:
            for chunk in self.objects.read(key):
                stream.write(chunk)

    def _get(self, key: str, path: Path, wanted: frozenset[Digest]) -> bool:
        try:
            with staged_file(path) as staged:
                self._fill(key, staged)
                found = file_digest(staged)
                if found not in wanted:
                    raise TransientError(f"its {found.size} bytes are not those of the manifest")
        except NoObjectError:
            return False
        return True

    def _attempt(self, what: str, call: Callable[[], Answer]) -> Answer:
        attempts = 0
        waits = self.patience.waits()
        while True:
            attempts += 1
            try:
                return call()
            except RefusedError as error:
                raise UnreachableError(f"{self.url}: cannot {what}: {error}") from error
            except TransientError as error:
                wait = next(waits, None)
                if wait is None:
                    raise UnreachableError(
                        f"{self.url}: cannot {what}, after {attempts} attempts: {error}; all that "
                        "is finished is kept: run the same command again"
                    ) from error
                self.patience.sleep(wait)


class _Digests:
    """SHA-256 and MD5 of a content; the second is what stores tell of theirs."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        size, sha256, md5 = 0, hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        for chunk in chunks:
            size += len(chunk)
            sha256.update(chunk)
            md5.update(chunk)
        self.digest = Digest(size, sha256.hexdigest())
        self.md5 = md5.hexdigest()


def in_threads(work: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    """The answers in the order of the items; requests mostly wait, so several go at a time."""
    todo = list(items)
    if len(todo) < 2:
        return [work(item) for item in todo]
    with ThreadPoolExecutor(max_workers=_AT_A_TIME) as pool:
        return list(pool.map(work, todo))


def file_digest(path: Path) -> Digest:
    """Size and SHA-256 of a file."""
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return Digest(path.stat().st_size, sha256)


def file_chunks(path: Path) -> Iterator[bytes]:
    """A file's content in pieces."""
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk
