"""The confusion matrix as a picture, drawn off screen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from automl.measurement.confusion import normalised_rows
from automl.store.atomic import staged_file

#: Cells of larger matrices are too small for a number.
_MOST_NUMBERS = 24


def draw_confusion(confusion: ArrayLike, classes: Sequence[str], destination: Path) -> None:
    """Draw what each class was taken for, as shares of its own pixels, and write it as a PNG."""
    shares_kk = normalised_rows(confusion)
    side = max(4.5, 0.62 * len(classes) + 2.4)
    figure = Figure(figsize=(side + 1.0, side), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    picture = axes.imshow(shares_kk, vmin=0, vmax=1, cmap="Blues")
    places = np.arange(len(classes))
    axes.set_xticks(places, classes, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(places, classes, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title("Share of each true class's pixels", fontsize=11, loc="left")
    figure.colorbar(picture, ax=axes, fraction=0.046)
    if len(classes) <= _MOST_NUMBERS:
        for row, column in np.argwhere(shares_kk >= 0.005):
            share = shares_kk[row, column]
            colour = "white" if share > 0.55 else "black"
            text = f"{100 * share:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    with staged_file(destination) as staged:
        # No program version in the file: the same counts give the same bytes.
        figure.savefig(staged, format="png", metadata={"Software": None})
