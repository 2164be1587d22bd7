"""What a manifest records of scores: values, and their intervals over the images of the split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from automl.bundle.manifest import ImageIntervals
from automl.jobs.scoring import INTERVAL_SEED
from automl.measurement.resampling import RESAMPLES
from automl.records import SPLITS, Measurement, Split


def recorded_scores(measurements: Sequence[Measurement]) -> dict[Split, dict[str, float]]:
    """The scores of each split that has some, by name."""
    by_split: dict[Split, dict[str, float]] = {
        split: {m.metric: m.value for m in measurements if m.split == split} for split in SPLITS
    }
    return {split: values for split, values in by_split.items() if values}


def recorded_intervals(
    measurements: Sequence[Measurement], images: Mapping[str, int]
) -> dict[Split, ImageIntervals]:
    """The intervals of each split that has some; `images` is how many each split has."""
    found: dict[Split, ImageIntervals] = {}
    for split in SPLITS:
        bounds = {
            m.metric: m.interval
            for m in measurements
            if m.split == split and m.interval is not None
        }
        if bounds:
            found[split] = ImageIntervals(
                images=images[split], resamples=RESAMPLES, seed=INTERVAL_SEED, bounds=bounds
            )
    return found
