"""A contact sheet: pairs of pictures in a grid, with a title and the colours of the classes.

Sizes are in pixels of the sheet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from PIL import Image, ImageDraw, ImageFont

from automl.bundle.masks import Colour

_PAGE, _INK, _FAINT, _FRAME = (255, 255, 255), (25, 28, 33), (105, 112, 122), (200, 205, 212)
_MARGIN, _GAP, _PAIR_GAP = 24, 4, 22
_TITLE, _TEXT, _SMALL = 24, 15, 13
_WIDTH = 1500
#: The width that one picture should have; a whole number of pairs then fills the sheet.
_PICTURE_WIDTH = 230
_SWATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A picture before and after, of equal size, and what is said below them."""

    before: Image.Image
    after: Image.Image
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the legend."""

    colour: Colour
    text: str


def contact_sheet(
    title: str, subtitle: str, legend: Sequence[Entry], pairs: Sequence[Pair]
) -> Image.Image:
    """Draw the sheet, about 1500 pixels wide."""
    columns = min(len(pairs), max(1, (_WIDTH - 2 * _MARGIN) // (2 * _PICTURE_WIDTH + _GAP)))
    size = _picture_size(pairs[0].before.size, columns)
    pair_width, pair_height = 2 * size[0] + _GAP, size[1] + _SMALL + 16
    rows = -(-len(pairs) // columns)
    places = _legend_places(legend)
    top = _MARGIN + _TITLE + _TEXT + 30 + (places[-1][1] + _TEXT + 22 if places else 0)
    width = max(_WIDTH, 2 * _MARGIN + columns * pair_width + (columns - 1) * _PAIR_GAP)
    sheet = Image.new("RGB", (width, top + rows * pair_height + _MARGIN - 8), _PAGE)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN - 4), title, _INK, _font(_TITLE, bold=True))
    draw.text((_MARGIN, _MARGIN + _TITLE + 8), subtitle, _FAINT, _font(_TEXT))
    _draw_legend(draw, legend, places, _MARGIN + _TITLE + _TEXT + 30)
    for index, pair in enumerate(pairs):
        row, column = divmod(index, columns)
        x, y = _MARGIN + column * (pair_width + _PAIR_GAP), top + row * pair_height
        _draw_pair(sheet, pair, (x, y), size)
    return sheet


def _picture_size(given: tuple[int, int], columns: int) -> tuple[int, int]:
    """As wide as fills the sheet; not over three times as high as it is wide."""
    room = _WIDTH - 2 * _MARGIN - (columns - 1) * _PAIR_GAP - columns * _GAP
    width = min(room // (2 * columns), 2 * _PICTURE_WIDTH)
    return width, round(width * given[1] / given[0])


def _draw_pair(sheet: Image.Image, pair: Pair, at: tuple[int, int], size: tuple[int, int]) -> None:
    draw = ImageDraw.Draw(sheet)
    x, y = at
    for picture, left in ((pair.before, x), (pair.after, x + size[0] + _GAP)):
        kind = (
            Image.Resampling.NEAREST if size[0] >= 2 * picture.width else Image.Resampling.LANCZOS
        )
        sheet.paste(picture.resize(size, kind), (left, y))
        draw.rectangle((left, y, left + size[0] - 1, y + size[1] - 1), outline=_FRAME)
    font = _font(_SMALL)
    caption = _fitting(pair.caption, 2 * size[0], font)
    draw.text((x, y + size[1] + 3), caption, _FAINT, font)


def _legend_places(legend: Sequence[Entry]) -> list[tuple[int, int]]:
    """Where each entry starts, in lines as wide as the sheet, seen from the first."""
    font, places = _font(_TEXT), []
    x, y = 0, 0
    for entry in legend:
        width = _SWATCH + 8 + round(font.getlength(entry.text)) + 26
        if x and x + width > _WIDTH - 2 * _MARGIN:
            x, y = 0, y + _TEXT + 12
        places.append((x, y))
        x += width
    return places


def _draw_legend(
    draw: ImageDraw.ImageDraw,
    legend: Sequence[Entry],
    places: Sequence[tuple[int, int]],
    top: int,
) -> None:
    for entry, (dx, dy) in zip(legend, places, strict=True):
        x, y = _MARGIN + dx, top + dy
        draw.rectangle((x, y, x + _SWATCH, y + _SWATCH), fill=entry.colour, outline=_FAINT)
        draw.text((x + _SWATCH + 8, y - 1), entry.text, _INK, _font(_TEXT))


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """The text, or its end where it is too long: names differ there."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength("..." + text) > width:
        text = text[1:]
    return "..." + text


def _font(height: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """A font that matplotlib brings along, so that a sheet looks alike everywhere."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / name, height)
