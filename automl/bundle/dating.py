"""When a bundle was made: the one thing in it that two exports of one study could differ in."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from automl.bundle.files import sha256
from automl.bundle.loading import load_sound
from automl.bundle.manifest import Manifest
from automl.errors import BundleError, UsageError

#: Seconds since 1970, to use in place of the clock. Source: reproducible-builds.org/specs
EPOCH_VARIABLE = "SOURCE_DATE_EPOCH"


def time_of_making() -> datetime:
    """Now, or the time that `SOURCE_DATE_EPOCH` sets; raises UsageError where it is no time."""
    given = os.environ.get(EPOCH_VARIABLE)
    if given is None:
        return datetime.now(UTC)
    try:
        return datetime.fromtimestamp(int(given), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"{EPOCH_VARIABLE}: whole seconds since 1970 are allowed, got {given!r}"
        ) from error


def dated_as_before(manifest: Manifest, bundle: Path, artifact: Path) -> Manifest:
    """The manifest with the date of the sound bundle in folder `bundle`, where it tells the same.

    So exporting a finished study again changes no byte of its bundles.
    """
    try:
        before = load_sound(bundle).manifest
    except BundleError:
        return manifest
    digests = before.digests
    if digests is None or digests.model != sha256(artifact.read_bytes()):
        return manifest
    undated = {"created": before.created, "digests": before.digests}
    same = manifest.model_copy(update=undated) == before
    return manifest.model_copy(update={"created": before.created}) if same else manifest
