"""Verify a bundle: every file is what was written, and the model still computes what it did."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from automl.bundle import layout
from automl.bundle.files import BundleFiles, open_files
from automl.bundle.loading import damage, examine
from automl.bundle.manifest import Manifest
from automl.bundle.runtime import Session, open_model
from automl.bundle.signature import PublicKey, check_signature, signer
from automl.data.decode import decode_image
from automl.errors import BundleError, UsageError

#: Share of a golden mask's pixels that must come out the same. Not all: other processors round
#: other last bits, which turns a few pixels on the borders of classes.
MIN_AGREEMENT = 0.999

#: Most pixels of a golden sample; a file of a few kilobytes may claim to have billions.
MAX_GOLDEN_PIXELS = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """A bundle without a fault.

    `agreements` are the shares of equal pixels of golden masks. `signer` is the id of the key that
    its signature names, if it has one; only where `is_signer_known` was that checked.
    """

    path: Path
    manifest: Manifest
    num_files: int
    agreements: tuple[float, ...]
    signer: str | None = None
    is_signer_known: bool = False

    def lines(self) -> list[str]:
        """The report for people."""
        worst = f"{min(self.agreements):.4%} (at least {MIN_AGREEMENT:.1%} needed)"
        return [
            f"{self.path}: verified",
            f"  {self.num_files} files match their checksums",
            f"  {len(self.agreements)} golden samples replayed, equal pixels at worst {worst}",
            *self._signature_lines(),
        ]

    def _signature_lines(self) -> list[str]:
        if self.signer is None:
            return []
        unchecked = "" if self.is_signer_known else ", not checked: give --public-key"
        return [f"  signed by key {self.signer}{unchecked}"]


def verify_bundle(path: Path, *, public_key: PublicKey | None = None) -> VerifyReport:
    """Check every file of a bundle, a folder or a packed file, and replay its golden samples.

    Raises BundleError that lists every fault. With `public_key` it must also carry a signature by
    that key, which is checked before anything else is read. The model runs only where its file is
    the one that was written, and a golden sample is replayed only where both its files are: a fault
    is then told once, by its cause.
    """
    files = open_files(path)
    if public_key is not None:
        check_signature(path, files, public_key)
    manifest, faults = examine(path, files)
    names = files.names()
    pairs, _ = layout.golden_pairs(set(names))
    agreements: list[float] = []
    if manifest is not None and not faults.keys() & {layout.MODEL, layout.CHECKSUMS}:
        sound = [pair for pair in pairs if not faults.keys() & set(pair)]
        agreements, replay_faults = _replay_all(files, sound, manifest)
        faults |= replay_faults
    if manifest is None or faults:
        raise BundleError(damage(path, faults))
    return VerifyReport(
        path=path,
        manifest=manifest,
        num_files=len(names),
        agreements=tuple(agreements),
        signer=signer(files),
        is_signer_known=public_key is not None,
    )


def _replay_all(
    files: BundleFiles, pairs: list[tuple[str, str]], manifest: Manifest
) -> tuple[list[float], dict[str, str]]:
    try:
        session = open_model(files.read(layout.MODEL), layout.MODEL, threads=1)
    except BundleError as error:
        return [], {layout.MODEL: str(error)}
    agreements: list[float] = []
    faults: dict[str, str] = {}
    for image_name, mask_name in pairs:
        try:
            image_hwc = decode_image(
                files.read(image_name), image_name, max_pixels=MAX_GOLDEN_PIXELS
            )
            expected_hw = _golden_mask(files.read(mask_name))
            agreements.append(_replay(session, image_hwc, expected_hw, manifest))
        except UsageError as error:
            faults[mask_name] = str(error)
    return agreements, faults


def _replay(
    session: Session,
    image_hwc: NDArray[np.uint8],
    expected_hw: NDArray[np.uint8],
    manifest: Manifest,
) -> float:
    try:
        actual_hw = session.run(image_hwc)
    except UsageError:
        raise
    except Exception as error:  # ONNX Runtime's exceptions share no narrower base
        raise BundleError(f"the model cannot be run on it: {error}") from error
    if actual_hw.shape != expected_hw.shape:
        raise BundleError(
            f"golden mask of shape {expected_hw.shape}, but the model gives {actual_hw.shape}"
        )
    if actual_hw.max() >= len(manifest.classes):
        raise BundleError(f"the model gives label {actual_hw.max()}, which is no class")
    agreement = float((actual_hw == expected_hw).mean())
    if agreement < MIN_AGREEMENT:
        raise BundleError(
            f"golden mask: the model gives {agreement:.3%} of its pixels, at least "
            f"{MIN_AGREEMENT:.1%} are needed (INT8 models may differ on processors without VNNI)"
        )
    return agreement


def _golden_mask(content: bytes) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            _check_golden_mask(picture)
            return np.array(picture, np.uint8)
    except BundleError:
        raise
    except Exception as error:
        # A damaged file makes decoders raise nearly anything (struct.error, zlib.error, ...).
        raise BundleError(f"golden mask cannot be read: {error}") from error


def _check_golden_mask(picture: Image.Image) -> None:
    if picture.mode != "P":
        raise BundleError(f"golden mask must have a palette, got mode {picture.mode}")
    if picture.width * picture.height > MAX_GOLDEN_PIXELS:
        raise BundleError(f"golden mask has more than {MAX_GOLDEN_PIXELS} pixels")
