"""URLs of object stores: which there are, what they open, and where their files are worked on."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from automl.errors import UsageError
from automl.records import short_hash
from automl.storage.arrow_objects import connect
from automl.storage.objects import UnreachableError
from automl.storage.reliable import Patience, Reliable, patience_here

_SCHEMES = ("s3", "gs", "file")


def is_url(text: str) -> bool:
    """Whether this names a place in an object store; what is none is a path."""
    return "://" in text


def checked_url(text: str, option: str) -> str:
    """The URL without slashes at its end; raises UsageError unless it has a bucket and a prefix."""
    parts = urlsplit(text)
    prefix = parts.path.strip("/")
    wrong = parts.query or parts.fragment or parts.scheme not in _SCHEMES
    if wrong or not prefix or (parts.scheme != "file" and not parts.netloc):
        raise UsageError(
            f"{option}: given {text}; allowed: s3://bucket/prefix, gs://bucket/prefix, "
            "file:///folder"
        )
    return text.rstrip("/")


def opened(url: str) -> Reliable:
    """The objects below a URL."""
    return Reliable(url, connect(url), patience_here())


def reachable(url: str, option: str) -> Reliable:
    """The objects below a URL, which can be listed now.

    Raises:
        UsageError: there is no such bucket, or it refuses these credentials, or does not answer.
    """
    store = opened(url)
    impatient = Reliable(url, store.objects, Patience(seconds=min(10.0, store.patience.seconds)))
    try:
        impatient.entries("")
    except UnreachableError as error:
        raise UsageError(
            f"{option}: {error}\nCredentials are looked for as the cloud's own tools do: "
            f"{_credentials(url)}"
        ) from error
    return store


def cache_root() -> Path:
    """Where a node keeps what it can get or make again: $AUTOML_CACHE, or ~/.cache/automl."""
    named = os.environ.get("AUTOML_CACHE", "")
    return Path(named).absolute() if named else Path.home() / ".cache" / "automl"


def work_folder(url: str, kind: str) -> Path:
    """The folder of this node in which the files of a URL are worked on, by what they are for."""
    return cache_root() / kind / f"{url.rpartition('/')[2]}-{short_hash(url)}"


def _credentials(url: str) -> str:
    if url.startswith("gs://"):
        return "$GOOGLE_APPLICATION_CREDENTIALS, or the machine's service account"
    return (
        "$AWS_ACCESS_KEY_ID and $AWS_SECRET_ACCESS_KEY, ~/.aws, or the machine's role; "
        "$AWS_ENDPOINT_URL_S3 names a server that is not Amazon's"
    )
