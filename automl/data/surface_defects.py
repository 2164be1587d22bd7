"""The embedded dataset `builtin:surface-defects`: pictures of metal with scratches, pits and rust.

Made from a seed, the same on every run. Defects are rare and often faint, light and finish vary,
and stains, dust, fibres, tool lines and warm reflections look like defects without being any. Seven
pictures in twenty are free of defects. Every split has the same mixture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import yaml
from PIL import Image

from automl.data.canvas import Canvas, Floats, blob, expose, make_canvas
from automl.data.dataset import UInt8
from automl.data.declaration import DECLARATION_FILE
from automl.data.folders import IMAGES, MASKS
from automl.data.metal import Surface, make_surface
from automl.data.writing import DatasetWriter
from automl.records import SPLITS, Split

#: Changes whenever the same seed gives other pictures.
VERSION = 2
NAME = "surface-defects"
CLASSES = ("background", "scratch", "pit", "rust")
SCRATCH, PIT, RUST = 1, 2, 3
DEFAULT_COUNTS: Mapping[Split, int] = MappingProxyType({"train": 240, "val": 60, "test": 60})

#: The defects of each twenty pictures: 35 % have none, each defect is in 30 %.
_MIXTURE: tuple[tuple[int, ...], ...] = (
    (SCRATCH,),
    (PIT,),
    (RUST,),
    (),
    (),
    (RUST, SCRATCH),
    (PIT,),
    (),
    (SCRATCH,),
    (RUST, PIT),
    (),
    (RUST,),
    (SCRATCH, PIT),
    (),
    (PIT,),
    (RUST,),
    (),
    (RUST, SCRATCH, PIT),
    (SCRATCH,),
    (),
)


def write_dataset(
    root: Path,
    size: tuple[int, int],
    seed: int,
    counts: Mapping[Split, int] = DEFAULT_COUNTS,
) -> None:
    """Make the pictures at `size` (height, width) and write them as an imported dataset."""
    with DatasetWriter(root, classes=CLASSES, size=size) as writer:
        for split, name, image, mask in pictures(size, seed, counts):
            writer.add(split, name, image, mask)
        writer.finish(NAME, ignore_index=None)


def write_folder(
    root: Path,
    *,
    size: tuple[int, int] = (128, 128),
    seed: int = 0,
    counts: Mapping[Split, int] = DEFAULT_COUNTS,
) -> None:
    """Make the pictures and write them as PNG files in the layout that `automl` imports."""
    for split, name, image, mask in pictures(size, seed, counts):
        for kind, values in ((IMAGES, image), (MASKS, mask)):
            folder = root / split / kind
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(folder / f"{name}.png")
    declared = {"name": NAME, "task": "segmentation", "classes": list(CLASSES)}
    text = yaml.safe_dump(declared, sort_keys=False)
    (root / DECLARATION_FILE).write_text(text, encoding="utf-8")


def pictures(
    size: tuple[int, int], seed: int, counts: Mapping[Split, int]
) -> Iterator[tuple[Split, str, UInt8, UInt8]]:
    """Give (split, name, image (H, W, 3), mask (H, W)), split by split."""
    for place, split in enumerate(SPLITS):
        for number, defects in enumerate(_deal(counts[split], (seed, place))):
            rng = np.random.default_rng([seed, place, number])
            image, mask = make_picture(size, rng, defects)
            yield split, f"{split}-{number:04d}", image, mask


def make_picture(
    size: tuple[int, int], rng: np.random.Generator, defects: Sequence[int]
) -> tuple[UInt8, UInt8]:
    """One picture (H, W, 3) with the defects named, and its mask (H, W)."""
    scene = make_canvas(size, rng)
    surface = make_surface(scene)
    reflectance = surface.reflectance_hwc
    mask = np.zeros(size, dtype=np.uint8)
    if RUST in defects:
        mask[_add_rust(scene, reflectance)] = RUST
    if SCRATCH in defects:
        mask[_add_scratches(scene, surface, reflectance)] = SCRATCH
    if PIT in defects:
        mask[_add_pits(scene, surface, reflectance)] = PIT
    return expose(scene, reflectance * surface.light_hw[..., None]), mask


def _deal(count: int, seed: tuple[int, int]) -> list[tuple[int, ...]]:
    """The defects of each picture of a split, in random order."""
    dealt = [_MIXTURE[number % len(_MIXTURE)] for number in range(count)]
    return [dealt[number] for number in np.random.default_rng(seed).permutation(count)]


def _add_scratches(
    canvas: Canvas, surface: Surface, reflectance_hwc: Floats
) -> npt.NDArray[np.bool_]:
    """Draw two to five scratches, roughly side by side; returns the pixels that they cover."""
    covered = np.zeros(canvas.size, dtype=bool)
    angle = surface.grain + canvas.between(0.15, np.pi - 0.15)
    place = canvas.point(margin=20)
    contrast = canvas.between(0.22, 0.65)
    for _ in range(int(canvas.rng.integers(2, 6))):
        shifted = (place[0] + canvas.between(-26, 26), place[1] + canvas.between(-26, 26))
        turned = angle + canvas.between(-0.2, 0.2)
        covered |= _add_scratch(canvas, surface, reflectance_hwc, (shifted, turned, contrast))
    return covered


def _add_scratch(
    canvas: Canvas,
    surface: Surface,
    reflectance_hwc: Floats,
    stroke: tuple[tuple[float, float], float, float],
) -> npt.NDArray[np.bool_]:
    """A groove: a dark core, a bright flank on the side that faces the light, broken in places."""
    place, angle, contrast = stroke
    along, across = canvas.rotated(place, angle)
    half = canvas.between(14, 46)
    position = along / half
    bend = canvas.between(-5, 5) * position**2 + canvas.between(0, 0.7) * np.sin(4 * position)
    offset = across - bend
    taper = np.sqrt(np.clip(1.0 - np.abs(position) ** 3, 0.0, 1.0))
    pixel = 1.0 / canvas.pixels_per_unit
    width = canvas.between(0.8, 1.9) * (0.45 + 0.55 * taper) + 0.15 * pixel
    broken = np.clip(0.75 + 0.35 * canvas.noise(9, 9), 0.15, 1.3)
    strength = contrast * broken * taper
    facing = 1.0 if np.cos(surface.light_from - angle - np.pi / 2) > 0 else -1.0
    core = np.exp(-((offset / width) ** 2))
    flank = np.exp(-(((offset - facing * 1.5 * width) / width) ** 2))
    change = strength * (0.55 * flank - core)
    if canvas.happens(0.3):  # fresh: bare metal shines where the skin is gone
        change = -0.8 * change
    reflectance_hwc *= (1.0 + change)[..., None]
    reach = np.maximum(1.1 * width, 0.6 * pixel)
    return np.asarray((np.abs(offset) < reach) & (np.abs(position) < 0.98))


def _add_pits(canvas: Canvas, surface: Surface, reflectance_hwc: Floats) -> npt.NDArray[np.bool_]:
    """Draw a loose cluster of small holes; returns the pixels that they cover."""
    covered = np.zeros(canvas.size, dtype=bool)
    height, width = (side / canvas.pixels_per_unit for side in canvas.size)
    centre, spread = canvas.point(margin=15), canvas.between(6, 35)
    depth = canvas.between(0.3, 0.8)
    for _ in range(int(canvas.rng.integers(4, 18))):
        y, x = canvas.rng.normal(centre, spread)
        # Those that fall outside are spread over the picture, so that none pile up at its edge.
        place = (y, x) if 3 < y < height - 3 and 3 < x < width - 3 else canvas.point(margin=3)
        rows, columns, near = canvas.window(place, 10.0)
        part = reflectance_hwc[rows, columns]
        covered[rows, columns] |= _add_pit(near, surface, part, (place, depth))
    return covered


def _add_pit(
    canvas: Canvas,
    surface: Surface,
    reflectance_hwc: Floats,
    hole: tuple[tuple[float, float], float],
) -> npt.NDArray[np.bool_]:
    """A hole: dark, most so towards the light, with a bright far lip."""
    (y, x), depth = hole
    dy, dx = canvas.y_hw - y, canvas.x_hw - x
    pixel = 1.0 / canvas.pixels_per_unit
    radius = max(canvas.between(1.4, 3.8), 0.75 * pixel)
    angle = np.arctan2(dy, dx)
    ragged = 1.0 + canvas.between(0.05, 0.25) * np.cos(
        float(canvas.rng.integers(2, 5)) * angle + canvas.between(0, 6)
    )
    reach = np.hypot(dy, dx) / (radius * ragged)
    towards = (dx * np.cos(surface.light_from) + dy * np.sin(surface.light_from)) / radius
    bowl = np.exp(-(reach**4))
    lip = np.exp(-(((reach - 1.05) / 0.35) ** 2)) * np.clip(-towards, 0.0, 1.2)
    strength = depth * canvas.between(0.7, 1.2)
    change = strength * (0.5 * lip - bowl * np.clip(0.75 + 0.35 * towards, 0.2, 1.2))
    reflectance_hwc *= np.maximum(1.0 + change, 0.08)[..., None]
    nearest = np.hypot(dy, dx) < 0.7 * pixel  # at least the pixel at the centre
    return np.asarray((reach < 1.0) | nearest)


def _add_rust(canvas: Canvas, reflectance_hwc: Floats) -> npt.NDArray[np.bool_]:
    """Draw one to three ragged patches of rust; returns the pixels that they cover."""
    edge = np.full(canvas.size, np.inf)
    for _ in range(int(canvas.rng.integers(1, 4))):
        edge = np.minimum(edge, blob(canvas, canvas.point(margin=8), canvas.between(5, 18), 0.35))
    fine = canvas.noise(3, 3)
    edge = edge + 1.6 * fine
    cover = 0.5 * (1.0 - np.tanh(edge / canvas.between(0.8, 2.2)))
    speckle = 1.0 + 0.2 * fine + 0.18 * canvas.noise(0.8, 0.8, power=1.0)
    strength = canvas.between(0.3, 0.9)
    brown = np.array([0.47, 0.29, 0.17]) * canvas.between(0.75, 1.25)
    amount = np.clip(strength * cover * speckle, 0.0, 1.0)[..., None]
    grey = reflectance_hwc.mean(axis=2, keepdims=True)
    rusty = brown * (0.45 + 1.1 * grey) * speckle[..., None]
    reflectance_hwc += amount * (rusty - reflectance_hwc)
    if not (edge < 0).any():
        edge = edge - edge.min() - 1.0
    return np.asarray(edge < 0)
