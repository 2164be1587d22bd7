"""Verify a bundle: every file is what was written, and the model still computes what it did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from automl.bundle import layout
from automl.bundle.loading import damage, inspect
from automl.bundle.manifest import Manifest
from automl.bundle.runtime import Session, open_session
from automl.data.decode import read_image
from automl.errors import BundleError, UsageError

#: Share of a golden mask's pixels that must come out the same. Not all: other processors round
#: other last bits, which turns a few pixels on the borders of classes.
MIN_AGREEMENT = 0.999


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """A bundle without a fault; `agreements` are the shares of equal pixels of golden masks."""

    path: Path
    manifest: Manifest
    num_files: int
    agreements: tuple[float, ...]

    def lines(self) -> list[str]:
        """The report for people."""
        worst = f"{min(self.agreements):.4%} (at least {MIN_AGREEMENT:.1%} needed)"
        return [
            f"{self.path}: verified",
            f"  {self.num_files} files match their checksums",
            f"  {len(self.agreements)} golden samples replayed, equal pixels at worst {worst}",
        ]


def verify_bundle(path: Path) -> VerifyReport:
    """Check every file of a bundle and replay its golden samples.

    Raises BundleError that lists every fault. The model runs only where its file is the one that
    was written, and a golden sample is replayed only where both its files are: a fault is then
    told once, by its cause.
    """
    manifest, faults = inspect(path)
    names = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    pairs, _ = layout.golden_pairs(names)
    agreements: list[float] = []
    if manifest is not None and not faults.keys() & {layout.MODEL, layout.CHECKSUMS}:
        sound = [pair for pair in pairs if not faults.keys() & set(pair)]
        agreements, replay_faults = _replay_all(path, sound, manifest)
        faults |= replay_faults
    if manifest is None or faults:
        raise BundleError(damage(path, faults))
    return VerifyReport(
        path=path,
        manifest=manifest,
        num_files=len(names),
        agreements=tuple(agreements),
    )


def _replay_all(
    path: Path, pairs: list[tuple[str, str]], manifest: Manifest
) -> tuple[list[float], dict[str, str]]:
    try:
        session = open_session(path / layout.MODEL, threads=1)
    except BundleError as error:
        return [], {layout.MODEL: str(error)}
    agreements: list[float] = []
    faults: dict[str, str] = {}
    for image_name, mask_name in pairs:
        try:
            agreements.append(_replay(session, path / image_name, path / mask_name, manifest))
        except UsageError as error:
            faults[mask_name] = str(error)
    return agreements, faults


def _replay(session: Session, image: Path, mask: Path, manifest: Manifest) -> float:
    expected_hw = _read_golden_mask(mask)
    try:
        actual_hw = session.run(read_image(image))
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


def _read_golden_mask(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    try:
        with Image.open(path) as picture:
            if picture.mode != "P":
                raise BundleError(f"golden mask must have a palette, got mode {picture.mode}")
            return np.array(picture, np.uint8)
    except (OSError, ValueError, SyntaxError) as error:
        raise BundleError(f"golden mask cannot be read: {error}") from error
