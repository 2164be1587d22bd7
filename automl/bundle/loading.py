"""Open a bundle and use it. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from automl.bundle import layout
from automl.bundle.checksums import file_faults
from automl.bundle.manifest import Manifest, parse_manifest
from automl.bundle.runtime import Session, open_session
from automl.errors import BundleError

#: Modes of Pillow that turn into 8-bit RGB without loss of range.
_PLAIN_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"})


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model that is ready to be used, and what is known of it."""

    path: Path
    manifest: Manifest
    session: Session

    @classmethod
    def load(cls, path: Path, *, threads: int = 1) -> Self:
        """Open the bundle in folder `path`; raises BundleError naming every damaged file.

        Checks all files against their checksums; `verify_bundle` also replays the golden samples.
        """
        manifest, faults = inspect(path)
        if manifest is None or faults:
            raise BundleError(damage(path, faults))
        return cls(path, manifest, open_session(path / layout.MODEL, threads=threads))

    def predict(self, image: Image.Image | NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The class of each pixel: uint8 (H, W) for an image of any size.

        `image` is a uint8 RGB array (H, W, 3), or a picture of Pillow, taken as it lies in memory:
        an EXIF orientation is not applied (`predict_file` does). Raises BundleError for other
        arrays, and for pictures with more than 8 bits a channel.
        """
        if isinstance(image, Image.Image):
            return self.session.run(_rgb(image))
        return self.session.run(image)


def inspect(path: Path) -> tuple[Manifest | None, dict[str, str]]:
    """The manifest of a bundle, where it can be read, and the faults of its files by name.

    Raises BundleError where `path` is no folder or holds no file of a bundle.
    """
    if not path.is_dir():
        raise BundleError(f"{path}: no bundle: no such folder")
    if not any((path / name).exists() for name in (*layout.REQUIRED, layout.CHECKSUMS)):
        raise BundleError(
            f"{path}: no bundle: a bundle is a folder with {layout.MANIFEST} and {layout.MODEL}"
        )
    faults = file_faults(path)
    if faults.get(layout.MANIFEST) == "missing":
        return None, faults
    try:
        return parse_manifest((path / layout.MANIFEST).read_text(encoding="utf-8")), faults
    except (BundleError, UnicodeDecodeError, OSError) as error:
        told = [faults[layout.MANIFEST]] if layout.MANIFEST in faults else []
        return None, faults | {layout.MANIFEST: "; ".join([*told, str(error)])}


def damage(path: Path, faults: dict[str, str]) -> str:
    """What to tell of a bundle with faults."""
    lines = [f"  {name}: {fault}" for name, fault in faults.items()]
    count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
    return "\n".join([f"{path}: damaged bundle, {count}:", *lines])


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode not in _PLAIN_MODES:
        raise BundleError(
            f"a picture must have 8 bits a channel, got mode {image.mode}; predict_file and "
            "automl.data.decode.read_image scale deeper files"
        )
    resolved = image.convert("RGBA") if image.mode in {"P", "PA"} else image
    return np.asarray(resolved.convert("RGB"))
