"""What a study writes in the end: bundles, further seeds, scores by averaged views."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from automl.resize import VIEW_SCALES
from automl.space.faults import wrong_value
from automl.space.pydantic_faults import raise_faults
from automl.space.strict import Count, Settings, Share


def _different_scales(scales: tuple[float, ...]) -> tuple[float, ...]:
    low, high = VIEW_SCALES
    fits = all(low <= scale <= high for scale in scales)
    if not scales or not fits or len(set(scales)) < len(scales):
        rule = f"different numbers from {low:g} to {high:g}, such as [0.75, 1, 1.25]"
        raise_faults([wrong_value((), scales, rule)])
    return scales


class TtaSettings(Settings):
    """Test-time augmentation: probabilities are averaged over views of each image."""

    scales: Annotated[tuple[float, ...], AfterValidator(_different_scales)] = (1.0,)
    """The views: above 1 enlarged, in windows; below 1 amid mirrored surroundings."""
    flip: bool = False
    """Whether each view is shown mirrored, too."""

    @model_validator(mode="after")
    def _is_more_than_the_image(self) -> Self:
        if self.scales == (1.0,) and not self.flip:
            given = self.model_dump(mode="json")
            raise_faults([wrong_value((), given, "other scales than 1, flip: true, or both")])
        return self


class ExportSettings(Settings):
    """Which bundles are written, beside `best` and `smallest`."""

    bundles: Literal["front", "best"] = "front"
    """front: a bundle for each model of the Pareto front, too; best: no more than those two."""
    best_accuracy_share: Share = 0.98
    """`best` is the fastest, and `smallest` the smallest, with this share of the best accuracy."""
    golden_samples: Count = 3
    """Images with their expected masks that a bundle carries to verify itself."""
    finalist_seeds: int = Field(default=0, ge=0)
    """Further seeds with which `best` and the default model are trained again, for an interval."""
    tta: TtaSettings | None = None
    """Views over which each bundle is scored once more, for the report; the ranking is without."""
