"""The picture of a Pareto front, drawn off screen and readable at the width of a README."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from matplotlib.transforms import Bbox

from automl.store.atomic import staged_file

#: Latencies further apart than this factor are drawn on a logarithmic axis.
_WIDE = 8.0
_SIZE_INCHES = (8.0, 5.0)
_DOTS_PER_INCH = 160
_PIXELS_PER_POINT = _DOTS_PER_INCH / 72
_LABEL_MARGIN = 6.0 * _PIXELS_PER_POINT
_GREY = "#555555"


class _Style(NamedTuple):
    marker: str
    colour: str


# Colours that stay apart for colour-blind eyes, and a shape for each that says the same.
# Source: Okabe & Ito 2008, "Color Universal Design".
_STYLES = (
    _Style("o", "#0072B2"),
    _Style("^", "#D55E00"),
    _Style("s", "#009E73"),
    _Style("D", "#CC79A7"),
    _Style("v", "#E69F00"),
    _Style("P", "#56B4E9"),
)

# Where the middle of a label may stand, in points from its mark; of places with equal overlap, the
# first is taken.
_PLACES = tuple(
    (x, side * y)
    for y in (24.0, 36.0, 52.0, 72.0)
    for x in (0.0, -40.0, 40.0, -90.0, 90.0, -150.0, 150.0, -210.0, 210.0)
    for side in (1.0, -1.0)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPoint:
    """One measured candidate. `accuracy` is drawn upwards; `kind` names its group in the legend."""

    label: str
    latency_ms: float
    accuracy: float
    kind: str
    on_front: bool = False
    is_default: bool = False
    is_best: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.latency_ms) and self.latency_ms > 0):
            raise ValueError(f"latency_ms must be finite and above 0, got {self.latency_ms}")
        if not math.isfinite(self.accuracy):
            raise ValueError(f"accuracy must be finite, got {self.accuracy}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontText:
    """What stands around the points. `not_drawn` counts trials by status, such as stopped: 3."""

    title: str = "Accuracy against latency"
    accuracy: str = "mIoU on val"
    latency: str = "latency p50 at batch 1 (ms)"
    not_drawn: Mapping[str, int] = field(default_factory=dict)


_DEFAULT_TEXT = FrontText()


def draw_front(
    points: Sequence[FrontPoint], destination: Path, *, text: FrontText = _DEFAULT_TEXT
) -> None:
    """Draw all candidates, join the Pareto front and name the default and the best, as a PNG.

    The front is drawn as the best accuracy that a latency buys: a step up at each point of it.
    The file is written whole or not at all; raises OSError where it cannot be.
    """
    figure = front_figure(points, text)
    with staged_file(destination) as staged:
        # No program version in the file: the same points give the same bytes.
        figure.savefig(staged, format="png", metadata={"Software": None})


def front_figure(points: Sequence[FrontPoint], text: FrontText) -> Figure:
    """The picture of `draw_front`, not written yet."""
    figure = Figure(figsize=_SIZE_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    figure.supxlabel(_caption(points, text.not_drawn), fontsize=10, color=_GREY, parse_math=False)
    axes = figure.add_subplot()
    _draw_frame(axes, text)
    if points:
        _set_limits(axes, points)
        _draw_front_line(axes, points)
        _draw_points(axes, points)
        _draw_legend(figure, text.title)
        # The layout must be settled before anything is placed in pixels.
        figure.draw_without_rendering()
        _draw_labels(axes, points)
    else:
        axes.set_title(text.title, fontsize=13, loc="left", parse_math=False)
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no candidate was measured", ha="center", transform=axes.transAxes)
    return figure


def _draw_frame(axes: Axes, text: FrontText) -> None:
    axes.set_ylabel(text.accuracy, fontsize=12, parse_math=False)
    axes.set_xlabel(text.latency, fontsize=12, parse_math=False)
    axes.tick_params(labelsize=11)
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _set_limits(axes: Axes, points: Sequence[FrontPoint]) -> None:
    latencies = [point.latency_ms for point in points]
    low, high = min(latencies), max(latencies)
    if high > _WIDE * low:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        margin = (high / low) ** 0.08
        axes.set_xlim(low / margin, high * margin)
    else:
        margin = max(0.08 * (high - low), 0.05 * low)
        axes.set_xlim(low - margin, high + margin)
    accuracies = [point.accuracy for point in points]
    room = max(0.1 * (max(accuracies) - min(accuracies)), 0.01)
    # More above than below: the labels of the best stand there.
    axes.set_ylim(min(accuracies) - room, max(accuracies) + 2.4 * room)


def _draw_front_line(axes: Axes, points: Iterable[FrontPoint]) -> None:
    corners = _line_corners(axes, points)
    if corners:
        latencies, accuracies = zip(*corners, strict=True)
        axes.plot(latencies, accuracies, color="black", linewidth=1.6, label="Pareto front")


def _line_corners(axes: Axes, points: Iterable[FrontPoint]) -> list[tuple[float, float]]:
    """Every corner of the front's line, which goes on to the right edge of the axes."""
    steps = front_steps(points)
    corners = steps[:1]
    for (_, before), (latency, accuracy) in pairwise(steps):
        corners += [(latency, before), (latency, accuracy)]
    return corners + [(axes.get_xlim()[1], accuracy) for _, accuracy in steps[-1:]]


def front_steps(points: Iterable[FrontPoint]) -> list[tuple[float, float]]:
    """The corners of the front's line: latencies rise, and so do accuracies.

    A point can be on the front through a third objective; in this plane it lies under the line.
    """
    steps: list[tuple[float, float]] = []
    on_front = (point for point in points if point.on_front)
    for point in sorted(on_front, key=lambda point: (point.latency_ms, -point.accuracy)):
        if not steps or point.accuracy > steps[-1][1]:
            steps.append((point.latency_ms, point.accuracy))
    return steps


def _draw_points(axes: Axes, points: Sequence[FrontPoint]) -> None:
    for number, kind in enumerate(sorted({point.kind for point in points})):
        style = _STYLES[number % len(_STYLES)]
        for on_front in (False, True):
            group = [point for point in points if (point.kind, point.on_front) == (kind, on_front)]
            axes.scatter(
                [point.latency_ms for point in group],
                [point.accuracy for point in group],
                s=90 if on_front else 55,
                marker=style.marker,
                # Off the front: hollow, so that the front stands out without colour.
                facecolors=style.colour if on_front else "none",
                edgecolors="black" if on_front else style.colour,
                linewidths=1.0 if on_front else 1.5,
                zorder=4 if on_front else 3,
            )
        axes.scatter([], [], s=75, marker=style.marker, c=style.colour, label=_literal(kind))


def _draw_legend(figure: Figure, title: str) -> None:
    # Above the axes, where it hides no point; the layout makes room for one thing there, so the
    # picture's title is the legend's.
    figure.legend(
        loc="outside upper left",
        ncols=4,
        fontsize=10.5,
        frameon=False,
        title=_literal(title),
        title_fontsize=13,
        alignment="left",
    )


def _draw_labels(axes: Axes, points: Sequence[FrontPoint]) -> None:
    """Ring and name the default and the best, clear of the points and of one another."""
    taken = [_around(axes, (point.latency_ms, point.accuracy), 8.0) for point in points]
    corners = _line_corners(axes, points)
    ends = [_around(axes, corner, 2.0) for corner in corners]
    taken += [Bbox.union(pair) for pair in pairwise(ends)]
    for point in points:
        roles = _roles(point)
        if not roles:
            continue
        axes.scatter(
            point.latency_ms,
            point.accuracy,
            s=260,
            facecolors="none",
            edgecolors="black",
            linewidths=1.8,
            linestyles="solid" if point.is_best else "dashed",
            zorder=5,
        )
        taken.append(_place_label(axes, point, f"{roles}: {point.label}", taken))


def _place_label(axes: Axes, point: FrontPoint, text: str, taken: Sequence[Bbox]) -> Bbox:
    """Write a label in the place with the least overlap, the nearest of equals; returns its box."""
    label = axes.annotate(
        text,
        xy=(point.latency_ms, point.accuracy),
        xytext=_PLACES[0],
        textcoords="offset points",
        fontsize=11,
        ha="center",
        va="center",
        parse_math=False,
        zorder=6,
        bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "#999999"},
        arrowprops={"arrowstyle": "-", "color": "#333333", "shrinkB": 8.0},
    )

    label.set_in_layout(False)
    # Text's own extent: an annotation's would take its line in.
    extent = Text.get_window_extent(label)
    half = (extent.width / 2 + _LABEL_MARGIN, extent.height / 2 + _LABEL_MARGIN)
    at = axes.transData.transform((point.latency_ms, point.accuracy))

    def box(place: tuple[float, float]) -> Bbox:
        x, y = (at[axis] + place[axis] * _PIXELS_PER_POINT for axis in (0, 1))
        return Bbox.from_extents(x - half[0], y - half[1], x + half[0], y + half[1])

    best = min(_PLACES, key=lambda place: _overlap(box(place), taken, axes.bbox))
    label.set_position(best)
    return box(best)


def _overlap(box: Bbox, taken: Iterable[Bbox], inside: Bbox) -> float:
    """The area in square pixels of a label that covers something or lies outside of the axes."""
    shared = [Bbox.intersection(box, other) for other in taken]
    covered = sum(other.width * other.height for other in shared if other is not None)
    visible = Bbox.intersection(box, inside)
    shown = 0.0 if visible is None else visible.width * visible.height
    return covered + box.width * box.height - shown


def _around(axes: Axes, at: tuple[float, float], reach_points: float) -> Bbox:
    x, y = axes.transData.transform(at)
    reach = reach_points * _PIXELS_PER_POINT
    return Bbox.from_extents(x - reach, y - reach, x + reach, y + reach)


def _roles(point: FrontPoint) -> str:
    roles = {"default": point.is_default, "best": point.is_best}
    return " and ".join(role for role, holds in roles.items() if holds)


def _caption(points: Sequence[FrontPoint], not_drawn: Mapping[str, int]) -> str:
    on_front = sum(point.on_front for point in points)
    drawn = f"{len(points)} candidates, {on_front} on the front (filled)"
    hidden = ", ".join(f"{count} {status}" for status, count in not_drawn.items() if count)
    return f"{drawn}; trials not drawn: {hidden}" if hidden else drawn


def _literal(text: str) -> str:
    """A legend entry has no switch for math text, and one that starts with _ would be hidden."""
    return text.replace("$", r"\$").lstrip("_")
