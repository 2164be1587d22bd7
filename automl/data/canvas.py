"""Where pictures are drawn: coordinates, random numbers, smooth noise, and the camera.

All lengths are in units of 1/128 of the picture's shorter side, so a scene keeps its proportions at
any size. Arrays: `_hw` one value a pixel, `_hwc` three.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Pictures are composed as if their shorter side had this many units.
UNITS = 128.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """Where a picture is made: its random numbers, and the coordinates of its pixels in units."""

    rng: np.random.Generator
    y_hw: Floats
    x_hw: Floats
    pixels_per_unit: float

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.y_hw.shape
        return height, width

    def between(self, low: float, high: float) -> float:
        """A random number, even between two bounds."""
        return float(self.rng.uniform(low, high))

    def happens(self, probability: float) -> bool:
        """A random decision."""
        return bool(self.rng.random() < probability)

    def point(self, margin: float = 0.0) -> tuple[float, float]:
        """A random place (y, x), `margin` or more from every edge."""
        height, width = (side / self.pixels_per_unit for side in self.size)
        return self.between(margin, height - margin), self.between(margin, width - margin)

    def window(self, place: tuple[float, float], reach: float) -> tuple[slice, slice, Canvas]:
        """The rows and columns within `reach` of a place, and the canvas that they make up."""
        spans = []
        for at, side in zip(place, self.size, strict=True):
            low = int((at - reach) * self.pixels_per_unit)
            high = int((at + reach) * self.pixels_per_unit) + 2
            spans.append(slice(min(max(low, 0), side - 1), min(max(high, 1), side)))
        rows, columns = spans
        part = replace(self, y_hw=self.y_hw[rows, columns], x_hw=self.x_hw[rows, columns])
        return rows, columns, part

    def rotated(self, place: tuple[float, float], angle: float) -> tuple[Floats, Floats]:
        """Coordinates (along, across) of each pixel about a place, turned by an angle."""
        dy, dx = self.y_hw - place[0], self.x_hw - place[1]
        cosine, sine = np.cos(angle), np.sin(angle)
        return dx * cosine + dy * sine, dy * cosine - dx * sine

    def noise(self, along: float, across: float, angle: float = 0.0, power: float = 1.5) -> Floats:
        """Noise of mean 0 and standard deviation 1 with a correlation length in each direction.

        White noise is made as its spectrum and damped by 1 / (1 + (2 pi f length)^2) ^ power, where
        `power` is 1, 1.5 or 2: the larger, the smoother.
        """
        fy, fx = _frequencies(self.size, self.pixels_per_unit)
        cosine, sine = np.cos(angle), np.sin(angle)
        u, v = fx * (cosine * along) + fy * (sine * along), fy * cosine - fx * sine
        falloff = 1.0 + u * u + (v * v) * across**2
        spectrum = self.rng.standard_normal((2, *falloff.shape))
        waves = (spectrum[0] + 1j * spectrum[1]) / _raised(falloff, power)
        waves[0, 0] = 0.0
        values = np.fft.irfft2(waves, s=self.size)
        return np.asarray(values / (values.std() + 1e-12))


def make_canvas(size: tuple[int, int], rng: np.random.Generator) -> Canvas:
    """An empty canvas of `size` (height, width) in pixels."""
    y_hw, x_hw, pixels_per_unit = _coordinates(size)
    return Canvas(rng=rng, y_hw=y_hw, x_hw=x_hw, pixels_per_unit=pixels_per_unit)


def expose(canvas: Canvas, picture_hwc: Floats) -> npt.NDArray[np.uint8]:
    """Take the picture: a lens that may be a little soft, a tone curve, noise, 8 bits."""
    picture = _soften(picture_hwc, canvas.between(0.0, 0.2))
    level = canvas.between(0.85, 1.15)
    tones = np.clip(picture * level, 0.0, 1.0) ** canvas.between(0.8, 1.25)
    grain = canvas.rng.standard_normal((*canvas.size, 2)) * canvas.between(1.0, 4.5)
    mixed = grain @ np.array([[0.9, 1.0, 0.9], [0.4, 0.0, -0.4]])
    return np.asarray(np.clip(np.rint(tones * 255.0 + mixed), 0, 255), dtype=np.uint8)


def blob(canvas: Canvas, place: tuple[float, float], radius: float, ragged: float) -> Floats:
    """Signed distance, in units, to the edge of a ragged round patch: negative inside."""
    along, across = canvas.rotated(place, canvas.between(0, np.pi))
    stretch = canvas.between(0.6, 1.0)
    distance = np.hypot(along * stretch, across / stretch)
    return np.asarray(distance - radius * (1.0 + ragged * canvas.noise(radius, radius, power=2.0)))


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(-x)), by tanh so that nothing overflows."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * values)))


def _soften(picture_hwc: Floats, side: float) -> Floats:
    """Blur by the kernel (side, 1 - 2 side, side) in both directions."""
    for axis in (0, 1):
        pad = [(1, 1) if axis == place else (0, 0) for place in range(3)]
        wide = np.pad(picture_hwc, pad, mode="edge")
        before, after = (wide[:-2], wide[2:]) if axis == 0 else (wide[:, :-2], wide[:, 2:])
        picture_hwc = (1.0 - 2.0 * side) * picture_hwc + side * (before + after)
    return picture_hwc


@lru_cache(maxsize=4)
def _coordinates(size: tuple[int, int]) -> tuple[Floats, Floats, float]:
    pixels_per_unit = min(size) / UNITS
    rows, columns = np.indices(size, dtype=np.float64)
    return (rows + 0.5) / pixels_per_unit, (columns + 0.5) / pixels_per_unit, pixels_per_unit


@lru_cache(maxsize=4)
def _frequencies(size: tuple[int, int], pixels_per_unit: float) -> tuple[Floats, Floats]:
    """Radians a unit, as rfft2 orders them."""
    fy = np.asarray(2 * np.pi * np.fft.fftfreq(size[0])[:, None] * pixels_per_unit, np.float64)
    fx = np.asarray(2 * np.pi * np.fft.rfftfreq(size[1])[None, :] * pixels_per_unit, np.float64)
    return fy, fx


def _raised(values: Floats, power: float) -> Floats:
    """`values` to the power of 1, 1.5 or 2, far faster than by np.power."""
    if power == 1.0:
        return values
    return values * (np.sqrt(values) if power == 1.5 else values)
