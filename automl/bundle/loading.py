"""Open a bundle and use it. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from automl.bundle import layout
from automl.bundle.checksums import file_faults, listed_checksums
from automl.bundle.files import BundleFiles, open_files
from automl.bundle.manifest import Manifest, parse_manifest
from automl.bundle.runtime import Session, open_model
from automl.bundle.signature import signature_faults
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
        """Open the bundle at `path`, a folder or a packed file; raises BundleError.

        Checks all files against their checksums and names every damaged one; `verify_bundle` also
        replays the golden samples.
        """
        sound = load_sound(path)
        name = f"{path}: {layout.MODEL}"
        return cls(path, sound.manifest, open_model(sound.model(), name, threads=threads))

    def predict(self, image: Image.Image | NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The class of each pixel: uint8 (H, W) for an image of any size.

        `image` is a uint8 RGB array (H, W, 3), or a picture of Pillow, taken as it lies in memory:
        an EXIF orientation is not applied (`predict_file` does). Raises BundleError for other
        arrays, and for pictures with more than 8 bits a channel.
        """
        if isinstance(image, Image.Image):
            return self.session.run(_rgb(image))
        return self.session.run(image)


@dataclass(frozen=True, slots=True)
class SoundFiles:
    """The files of a bundle that match their checksums; nothing was run yet."""

    path: Path
    files: BundleFiles
    manifest: Manifest

    def model(self) -> bytes:
        """The content of `model.onnx`."""
        return self.files.read(layout.MODEL)


def load_sound(path: Path) -> SoundFiles:
    """The files of the bundle at `path`; raises BundleError naming every damaged one."""
    files = open_files(path)
    manifest, faults = examine(path, files)
    if manifest is None or faults:
        raise BundleError(damage(path, faults))
    return SoundFiles(path, files, manifest)


def examine(path: Path, files: BundleFiles) -> tuple[Manifest | None, dict[str, str]]:
    """The manifest of a bundle, where it can be read, and the faults of its files by name.

    `path` is what messages call the files. Raises BundleError where none is of a bundle.
    """
    if not files.names() & {*layout.REQUIRED, layout.CHECKSUMS}:
        raise BundleError(
            f"{path}: no bundle: a bundle is a folder with {layout.MANIFEST} and {layout.MODEL}"
        )
    faults = file_faults(files)
    faults |= signature_faults(files)
    if layout.MANIFEST not in files.names() - files.links():
        return None, faults
    try:
        manifest = parse_manifest(files.read(layout.MANIFEST).decode())
    except (BundleError, UnicodeDecodeError) as error:
        told = [faults[layout.MANIFEST]] if layout.MANIFEST in faults else []
        return None, faults | {layout.MANIFEST: "; ".join([*told, str(error)])}
    if layout.MODEL not in faults and not _is_its_model(manifest, files):
        faults[layout.MODEL] = f"not the model that {layout.MANIFEST} describes: another SHA-256"
    return manifest, faults


def _is_its_model(manifest: Manifest, files: BundleFiles) -> bool:
    digests = manifest.digests
    return digests is None or digests.model == listed_checksums(files).get(layout.MODEL)


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
