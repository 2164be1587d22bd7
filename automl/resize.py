"""How images come to the size of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Scales of an image's views; beyond these it shows a network nothing that it could know.
VIEW_SCALES = (0.25, 4.0)

ResizeMode = Literal["stretch", "letterbox"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """How images come to the size of a network.

    `stretch` gives up the ratio of their sides. `letterbox` keeps it: an image is scaled until it
    fits, put in the middle, and the rest is `padding` (RGB), which is ignored in masks. None of a
    letterbox leaves the colour to the import: the mean of the train images.
    """

    mode: ResizeMode = "stretch"
    padding: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.padding is None:
            return
        if self.mode == "stretch":
            raise ValueError(f"what is stretched has no padding, got {self.padding}")
        if not all(0 <= value <= 255 for value in self.padding):
            raise ValueError(f"padding must be 0 to 255, got {self.padding}")

    @property
    def is_letterbox(self) -> bool:
        """Whether the ratio of the sides is kept."""
        return self.mode == "letterbox"


STRETCH = Resize()
