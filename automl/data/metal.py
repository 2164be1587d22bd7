"""Bare metal: its finish, the light on it, and marks that are no defects.

Reflectances lie about 0 to 1; lengths are in units of 1/128 of the shorter side (see `canvas`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from automl.data.canvas import UNITS, Canvas, Floats, blob, sigmoid


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """A surface without defects; the grain runs along `grain` (radians)."""

    reflectance_hwc: Floats
    light_hw: Floats
    grain: float
    light_from: float


def make_surface(canvas: Canvas) -> Surface:
    """A surface of a random finish under random light, with marks that are no defects."""
    grain = canvas.between(0.0, np.pi)
    light_from = canvas.between(0.0, 2 * np.pi)
    finish = _FINISHES[int(canvas.rng.integers(len(_FINISHES)))]
    grey = canvas.between(0.3, 0.68) + finish(canvas, grain)
    reflectance = grey[..., None] * _tint(canvas)
    for mark, probability in _MARKS:
        if canvas.happens(probability):
            reflectance *= mark(canvas, grain)
    return Surface(
        reflectance_hwc=reflectance,
        light_hw=_light(canvas, grain, light_from),
        grain=grain,
        light_from=light_from,
    )


# Finishes: what is added to a grey level.


def _brushed(canvas: Canvas, grain: float) -> Floats:
    fine = canvas.noise(canvas.between(20, 60), 0.35, grain, power=1.0)
    coarse = canvas.noise(60, canvas.between(1.5, 5), grain)
    return canvas.between(0.02, 0.055) * fine + canvas.between(0.01, 0.04) * coarse


def _milled(canvas: Canvas, grain: float) -> Floats:
    """Arcs left by a cutter of large radius, a little uneven."""
    radius = canvas.between(90, 400)
    along, across = canvas.rotated(canvas.point(), grain)
    distance = np.hypot(along, across + radius)
    pitch = canvas.between(3.5, 9.0)
    wave = np.sin(2 * np.pi * distance / pitch + 0.6 * canvas.noise(40, 40))
    strength = canvas.between(0.01, 0.035) * (1.0 + 0.4 * canvas.noise(30, 30))
    return np.asarray(strength * wave + 0.02 * canvas.noise(2, 0.5, grain, power=1.0))


def _rolled(canvas: Canvas, grain: float) -> Floats:
    bands = canvas.noise(200, canvas.between(6, 16), grain, power=2.0)
    speckle = canvas.noise(canvas.between(1.5, 4), 0.6, grain, power=1.0)
    return canvas.between(0.015, 0.05) * bands + canvas.between(0.02, 0.04) * speckle


def _cast(canvas: Canvas, _grain: float) -> Floats:
    grains = canvas.noise(1.2, 1.2, power=1.0)
    lumps = canvas.noise(8, 8)
    return canvas.between(0.02, 0.05) * grains + canvas.between(0.01, 0.04) * lumps


# Marks that are no defects: factors (H, W, 3) or (H, W, 1).


def _water_stain(canvas: Canvas, _grain: float) -> Floats:
    """A dried drop: a faint patch, cooler than the metal, with a darker rim."""
    edge = blob(canvas, canvas.point(), canvas.between(8, 30), 0.15)
    inside = sigmoid(-edge / 1.5)
    rim = np.exp(-((edge / canvas.between(0.8, 1.8)) ** 2))
    factor = 1.0 + canvas.between(-0.07, 0.06) * inside - canvas.between(0.03, 0.14) * rim
    return np.asarray(factor[..., None] * (1.0 + inside[..., None] * np.array([-0.02, 0.0, 0.02])))


def _tool_lines(canvas: Canvas, grain: float) -> Floats:
    """Even lines right across along the grain: what machining leaves, not a scratch."""
    _, across = canvas.rotated(canvas.point(), grain)
    factor = np.ones(canvas.size)
    spacing, width = canvas.between(6, 22), canvas.between(0.5, 1.0)
    for line in range(int(canvas.rng.integers(2, 6))):
        factor -= canvas.between(0.04, 0.15) * np.exp(-(((across - line * spacing) / width) ** 2))
    return factor[..., None]


def _dust(canvas: Canvas, _grain: float) -> Floats:
    """Specks on top of the metal: bright or dull, without the shadow of a hole."""
    factor = np.ones(canvas.size)
    for _ in range(int(canvas.rng.integers(3, 14))):
        place = canvas.point()
        radius, strength = canvas.between(0.6, 1.8), canvas.between(-0.14, 0.3)
        rows, columns, near = canvas.window(place, 4 * radius)
        squared = (near.y_hw - place[0]) ** 2 + (near.x_hw - place[1]) ** 2
        factor[rows, columns] += strength * np.exp(-squared / radius**2)
    return factor[..., None]


def _warm_reflection(canvas: Canvas, _grain: float) -> Floats:
    """The glow of something brown nearby: the hue of rust without its texture."""
    along, across = canvas.rotated(canvas.point(), canvas.between(0, np.pi))
    glow = np.exp(-((along / canvas.between(20, 60)) ** 2 + (across / canvas.between(10, 30)) ** 2))
    colour = np.array([-0.02, -0.13, -0.27]) * canvas.between(0.4, 1.0)
    return 1.0 + glow[..., None] * colour


def _lint(canvas: Canvas, _grain: float) -> Floats:
    """A fibre: thin, dark, strongly curled."""
    y, x = canvas.point()
    radius, start = canvas.between(6, 22), canvas.between(0, 2 * np.pi)
    dy, dx = canvas.y_hw - y, canvas.x_hw - x
    angle = np.mod(np.arctan2(dy, dx) - start, 2 * np.pi)
    wobble = 1.0 + canvas.between(0.05, 0.25) * np.sin(canvas.between(1, 3) * angle)
    distance = np.hypot(dy, dx) - radius * wobble
    end = canvas.between(1.5, 4.5)
    shown = np.exp(-((distance / canvas.between(0.5, 0.8)) ** 2)) * sigmoid((end - angle) * 12)
    return np.asarray(1.0 - canvas.between(0.12, 0.4) * shown)[..., None]


def _smear(canvas: Canvas, _grain: float) -> Floats:
    """A wiped film of oil: a long soft streak that dulls the metal a little."""
    along, across = canvas.rotated(canvas.point(), canvas.between(0, np.pi))
    across = across + 3 * canvas.noise(50, 50)
    film = np.exp(-((along / canvas.between(25, 70)) ** 2 + (across / canvas.between(3, 10)) ** 2))
    streaks = 1.0 + 0.3 * canvas.noise(8, 8)
    shade = np.array([1.0, 0.98, 0.9]) * canvas.between(-0.18, 0.06)
    return np.asarray(1.0 + (film * streaks)[..., None] * shade)


_FINISHES: tuple[Callable[[Canvas, float], Floats], ...] = (_brushed, _milled, _rolled, _cast)

#: Each mark and how often it occurs.
_MARKS: tuple[tuple[Callable[[Canvas, float], Floats], float], ...] = (
    (_water_stain, 0.35),
    (_tool_lines, 0.3),
    (_dust, 0.45),
    (_warm_reflection, 0.3),
    (_lint, 0.25),
    (_smear, 0.3),
)


def _tint(canvas: Canvas) -> Floats:
    """The colour of the metal: mostly steel, sometimes warm like bronze."""
    warmth = canvas.between(0.04, 0.12) if canvas.happens(0.25) else canvas.between(-0.04, 0.03)
    return np.array([1.0 + warmth, 1.0, 1.0 - 1.3 * warmth])


def _light(canvas: Canvas, grain: float, light_from: float) -> Floats:
    """Brightness: a slope, darker corners, a highlight across the grain, soft shadows."""
    height, width = canvas.size
    centre = (height / canvas.pixels_per_unit / 2, width / canvas.pixels_per_unit / 2)
    slope, _ = canvas.rotated(centre, light_from)
    radius = np.hypot(canvas.y_hw - centre[0], canvas.x_hw - centre[1]) / (UNITS / 2)
    light = 1.0 + canvas.between(0.05, 0.4) * slope / UNITS
    light -= canvas.between(0.0, 0.2) * radius**2
    if canvas.happens(0.5):
        along, across = canvas.rotated(canvas.point(), grain + np.pi / 2)
        spread = (across / canvas.between(12, 40)) ** 2 + (along / canvas.between(50, 140)) ** 2
        light += canvas.between(0.1, 0.45) * np.exp(-spread)
    light += canvas.between(0.0, 0.07) * canvas.noise(40, 40, power=2.0)
    return np.asarray(np.clip(light, 0.25, 1.8))
