"""The one door to pyarrow's file systems: S3 and what speaks like it, Google's, folders.

Credentials come as the clouds' own tools find them: `$AWS_*`, `~/.aws`, the instance's role;
`$GOOGLE_APPLICATION_CREDENTIALS`. `$AWS_ENDPOINT_URL_S3`, or `$AWS_ENDPOINT_URL`, names another
server than Amazon's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from automl.storage.objects import Entry, NoObjectError, RefusedError, State, TransientError
from automl.store.atomic import STAGED_SUFFIX

_CHUNK = 4 * 1024 * 1024
_CONNECT_S = 10.0
_REQUEST_S = 30.0
#: How the AWS SDK and Google's client name what no further attempt changes.
_REFUSALS = re.compile(
    r"NO_SUCH_BUCKET|ACCESS_DENIED|INVALID_ACCESS_KEY_ID|INVALID_CLIENT_TOKEN_ID"
    r"|SIGNATURE_DOES_NOT_MATCH|UNRECOGNIZED_CLIENT|EXPIRED_TOKEN|INVALID_SIGNATURE"
    r"|MISSING_AUTHENTICATION_TOKEN|HTTP status 40[013]|PERMISSION_DENIED|UNAUTHENTICATED"
)
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


class ArrowObjects:
    """The objects below a path of a file system."""

    def __init__(self, filesystem: fs.FileSystem, root: str) -> None:
        self._filesystem = filesystem
        self._root = root.strip("/") if _is_remote(filesystem) else root.rstrip("/")

    def write(self, key: str, chunks: Iterable[bytes]) -> None:
        """Make or replace an object."""
        path = self._path(key)
        staged = path if _is_remote(self._filesystem) else f"{path}{STAGED_SUFFIX}"
        with _told(key):
            if staged != path:
                self._filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            with self._filesystem.open_output_stream(staged) as stream:
                for chunk in chunks:
                    stream.write(chunk)
            if staged != path:  # objects appear whole, files do not
                self._filesystem.move(staged, path)

    def read(self, key: str) -> Iterator[bytes]:
        """The content in pieces of a few megabytes."""
        with _told(key), self._filesystem.open_input_stream(self._path(key)) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk

    def state(self, key: str) -> State:
        """Size, and the entity tag where it is an MD5, as it is unless a file came in parts."""
        with _told(key), self._filesystem.open_input_stream(self._path(key)) as stream:
            told: Mapping[bytes | str, bytes] = stream.metadata() or {}
            tags = {_text(name).lower(): _text(value) for name, value in told.items()}
            size = tags.get("content-length")
            if size is None:
                size = self._filesystem.get_file_info(self._path(key)).size
        found = _MD5.fullmatch(tags.get("etag", ""))
        return State(int(size), None if found is None else found.group(1))

    def entries(self, prefix: str) -> list[Entry]:
        """What lies below a folder, in the order of keys."""
        # A bucket that is not there is no empty folder, which `allow_not_found` would make of it.
        selector = fs.FileSelector(self._path(prefix), recursive=True)
        try:
            with _told(prefix):
                found = self._filesystem.get_file_info(selector)
        except NoObjectError:
            return []
        return sorted(
            (
                Entry(info.path[len(self._root) + 1 :], info.size, info.mtime_ns / 1e9)
                for info in found
                if info.type == fs.FileType.File and not info.path.endswith(STAGED_SUFFIX)
            ),
            key=lambda entry: entry.key,
        )

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        try:
            with _told(key):
                self._filesystem.delete_file(self._path(key))
        except NoObjectError:
            return

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root


def connect(url: str) -> ArrowObjects:
    """The objects below `s3://bucket/prefix`, `gs://bucket/prefix` or `file:///folder`.

    Asks for nothing but the region of a bucket of S3 that the environment does not name.
    """
    parts = urlsplit(url)
    path = f"{parts.netloc}{parts.path}"
    if parts.scheme == "s3":
        return ArrowObjects(_s3(parts.netloc), path)
    if parts.scheme == "gs":
        return ArrowObjects(_gs(), path)
    return ArrowObjects(fs.LocalFileSystem(), parts.path)


def _s3(bucket: str) -> fs.FileSystem:
    named = _first_set("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    endpoint = None if named is None else urlsplit(named)
    region = _first_set("AWS_REGION", "AWS_DEFAULT_REGION")
    if region is None and endpoint is None:
        region = _region_of(bucket)
    # Without requests of its own that are repeated: `reliable` does that, and tells of it.
    return fs.S3FileSystem(
        region=region,
        endpoint_override=None if endpoint is None else endpoint.netloc,
        scheme="https" if endpoint is None else endpoint.scheme,
        connect_timeout=_CONNECT_S,
        request_timeout=_REQUEST_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
        # A file is opened when it is closed: a small one is then a single request.
        allow_delayed_open=True,
        background_writes=False,
    )


def _first_set(*names: str) -> str | None:
    return next((value for name in names if (value := os.environ.get(name))), None)


def _region_of(bucket: str) -> str | None:
    """The region of a bucket; None leaves it to the profile, and a fault to the first request."""
    try:
        found: str = fs.resolve_s3_region(bucket)
    except OSError:
        return None
    return found


def _gs() -> fs.FileSystem:
    return fs.GcsFileSystem(retry_time_limit=timedelta(seconds=1))


def _is_remote(filesystem: fs.FileSystem) -> bool:
    return not isinstance(filesystem, fs.LocalFileSystem)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@contextmanager
def _told(key: str) -> Iterator[None]:
    """Sort what pyarrow raises into what may be tried again and what may not."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoObjectError(key) from error
    except (OSError, pa.ArrowException) as error:
        text = str(error)
        kind = RefusedError if _REFUSALS.search(text) else TransientError
        raise kind(text) from error
