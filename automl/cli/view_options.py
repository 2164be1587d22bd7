"""Options of the commands that predict by views and windows; importing them costs nothing."""

from __future__ import annotations

from typing import Annotated

import typer

TtaScales = Annotated[
    str | None, typer.Option(help="Average over views at these scales: 0.75,1,1.25.")
]
TtaFlip = Annotated[bool, typer.Option("--tta-flip", help="Average over mirrored views, too.")]
Window = Annotated[str | None, typer.Option(help="Height x width in pixels of the image: 512x512.")]
Overlap = Annotated[
    float, typer.Option(min=0, max=0.9, help="Least share of a window that others share.")
]
