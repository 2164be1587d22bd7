"""The proof that an epoch trains on as much data, and at the size, that were declared for it."""

from __future__ import annotations

import math

from automl.fidelity import Stretch, scaled_size
from automl.records import DatasetInfo
from automl.training.loop import Run


def fidelity_faults(
    stretch: Stretch, batch_size: int, info: DatasetInfo, run: Run
) -> dict[str, str]:
    """What is live in the next epoch instead of what `stretch` declares, by the declared key."""
    faults = {}
    images = info.counts["train"]
    wanted = min(images, max(batch_size, math.ceil(round(stretch.data_share * images, 9))))
    if run.plan.num_rows != wanted:
        faults["search.fidelity.data_share"] = (
            f"declared {stretch.data_share:g}, which is {wanted} of {images} images, "
            f"live {run.plan.num_rows}"
        )
    size, live = scaled_size(info.size, stretch.size_share), _live_size(run)
    if live != size:
        faults["search.fidelity.size"] = (
            f"declared {stretch.size_share:g}, which is {_text(size)}, live {_text(live)}"
        )
    return faults


def _live_size(run: Run) -> tuple[int, int]:
    """Height and width of the next epoch's first batch as a step gets it."""
    batch = run.plan.batch(0)
    assert batch is not None  # in training no process goes without
    _, height, width, _ = run.stepper.scaled(batch, run.epochs_done).images_nhwc.shape
    return height, width


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
