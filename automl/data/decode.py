"""Files to arrays, and arrays to the training resolution: Pillow and numpy only.

Serving reads images by the same functions, so that a bundle sees what training saw.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from automl.errors import DataError

UInt8 = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.integer]

#: The formats that are tried on content from strangers, by Pillow's names.
PLAIN_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

#: Modes with more than 8 bits a pixel; Pillow gives 16-bit grey as one of these.
_DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})


class TooManyPixels(DataError):  # noqa: N818  (says what is wrong)
    """An image is larger than the limit that was given."""


def read_image(path: Path) -> UInt8:
    """Read any image that Pillow reads as RGB (H, W, 3), upright by its EXIF orientation.

    Grey is repeated, palettes are resolved, alpha is dropped; 16-bit grey is scaled by its full
    range (65535 becomes 255). Of several frames the first counts. Raises DataError naming the file
    and, where it is known, what to do.
    """
    return _image(_open(path, str(path)), str(path))


def decode_image(content: bytes, name: str, *, max_pixels: int) -> UInt8:
    """Read the content of an image file as `read_image` does; `name` is what errors call it.

    For content that nobody vouches for: an image of more pixels is refused by its header, before
    anything is decoded (TooManyPixels), and only plain formats are tried, none that runs a program.
    """
    return _image(_open(io.BytesIO(content), name, max_pixels=max_pixels), name)


def _image(picture: Image.Image, name: str) -> UInt8:
    if picture.mode in _DEEP_MODES:
        deep = np.clip(np.asarray(picture).astype(np.int64), 0, 65535)
        grey = ((deep * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if picture.mode == "F":
        raise DataError(f"{name}: floating-point pixels have no known range: save 8 or 16 bit")
    if picture.mode == "P":
        picture = picture.convert("RGBA")
    return np.asarray(picture.convert("RGB"))


def read_mask(path: Path) -> Labels:
    """Read a mask as whole numbers (H, W): grey values, or palette indices.

    A colour image passes only where its channels are equal. Raises DataError naming the file.
    """
    picture = _open(path, str(path))
    if picture.mode == "F":
        raise DataError(f"{path}: a mask holds whole numbers, this one floating-point pixels")
    if picture.mode == "1":
        return np.asarray(picture).astype(np.uint8)
    if picture.mode in {"L", "P"} or picture.mode in _DEEP_MODES:
        return np.asarray(picture)
    rgb = np.asarray(picture.convert("RGB"))
    if (rgb != rgb[..., :1]).any():
        colours = len(np.unique(rgb.reshape(-1, 3), axis=0))
        raise DataError(
            f"{path}: a colour mask ({picture.mode}, {colours} colours): masks hold class indices, "
            "one channel or a palette"
        )
    return rgb[..., 0]


def resize_image(image_hwc: UInt8, size: tuple[int, int]) -> UInt8:
    """Resize to `size` (height, width): bilinear, antialiased when it shrinks."""
    return _resize(image_hwc, size, Image.Resampling.BILINEAR)


def resize_mask(mask_hw: UInt8, size: tuple[int, int]) -> UInt8:
    """Resize to `size` (height, width) by the nearest pixel: no label is invented."""
    return _resize(mask_hw, size, Image.Resampling.NEAREST)


def is_turned_by_exif(path: Path) -> bool:
    """Whether the EXIF orientation of a readable image swaps its height and width."""
    with Image.open(path) as picture:
        orientation: int = picture.getexif().get(0x0112, 1)
        return orientation >= 5


def _resize(values: UInt8, size: tuple[int, int], resampling: Image.Resampling) -> UInt8:
    if values.shape[:2] == size:
        return values
    height, width = size
    return np.asarray(Image.fromarray(values).resize((width, height), resampling))


def _open(source: Path | io.BytesIO, name: str, *, max_pixels: int | None = None) -> Image.Image:
    try:
        with Image.open(source, formats=None if max_pixels is None else PLAIN_FORMATS) as picture:
            _check_pixels(picture, name, max_pixels)
            picture.load()
            return ImageOps.exif_transpose(picture)
    except FileNotFoundError:
        raise DataError(f"{name}: no such file") from None
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise TooManyPixels(f"{name}: cannot be read as an image: {error}") from error
    except Exception as error:
        # A damaged file makes decoders raise nearly anything (struct.error, zlib.error, ...).
        raise DataError(f"{name}: cannot be read as an image: {_reason(error)}") from error


def _check_pixels(picture: Image.Image, name: str, max_pixels: int | None) -> None:
    pixels = picture.width * picture.height
    if max_pixels is not None and pixels > max_pixels:
        raise TooManyPixels(
            f"{name}: {picture.width} x {picture.height} pixels, at most {max_pixels} are allowed"
        )


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or of a format that Pillow does not know"
    return f"{type(error).__name__}: {error}"
