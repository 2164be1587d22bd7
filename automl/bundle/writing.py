"""Write a bundle: whole or not at all. Needs no torch."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from automl.bundle import layout
from automl.bundle.checksums import write_checksums
from automl.bundle.files import sha256
from automl.bundle.manifest import Digests, Manifest, manifest_json
from automl.bundle.masks import mask_picture, png_bytes
from automl.bundle.runtime import Session, open_session
from automl.errors import BundleError
from automl.store import atomic


def write_bundle(
    destination: Path,
    *,
    artifact: Path,
    manifest: Manifest,
    golden: Sequence[NDArray[np.uint8]],
    model_card: str,
    core: Path | None = None,
) -> None:
    """Make the folder `destination`, replacing a bundle that was there.

    `artifact` is a wrapped network (see `wrap`). `golden` are uint8 images (H, W, 3); the masks
    that the artifact makes of them here are what `verify_bundle` will expect. The digests of the
    artifact, and of the bare network `core` in it where it is given, are added to the manifest. The
    same arguments give the same bytes. Raises BundleError without a golden image, or where the
    artifact cannot be run on one or gives a label that is no class. Nothing is left behind then.
    """
    if not golden:
        raise BundleError("a bundle needs at least 1 golden image, got none")
    session = open_session(artifact, threads=1)
    with atomic.staged_folder(destination) as staged:
        shutil.copyfile(artifact, staged / layout.MODEL)
        digests = Digests(
            core=None if core is None else sha256(core.read_bytes()),
            model=sha256((staged / layout.MODEL).read_bytes()),
        )
        told = manifest.model_copy(update={"digests": digests})
        atomic.write_json(staged / layout.MANIFEST, manifest_json(told))
        atomic.write_text(staged / layout.CARD, model_card)
        for index, image_hwc in enumerate(golden):
            _write_golden(staged, index, image_hwc, session, manifest)
        write_checksums(staged)


def _write_golden(
    folder: Path,
    index: int,
    image_hwc: NDArray[np.uint8],
    session: Session,
    manifest: Manifest,
) -> None:
    mask_hw = session.run(image_hwc)
    if mask_hw.max() >= len(manifest.classes):
        raise BundleError(
            f"the model gives label {mask_hw.max()}, but the manifest has "
            f"{len(manifest.classes)} classes"
        )
    image = Image.fromarray(np.ascontiguousarray(image_hwc))
    mask = mask_picture(mask_hw, manifest.colours)
    atomic.write_bytes(folder / layout.golden_input(index), png_bytes(image))
    atomic.write_bytes(folder / layout.golden_mask(index), png_bytes(mask))
