"""What the batches about to be walked through really hold, for `jobs/applied.py`."""

from __future__ import annotations

import math

from automl.data.augment import policy_transforms
from automl.data.oversampling import image_weights, wrongly_drawn
from automl.jobs.applied_loss import equal
from automl.jobs.live import Live
from automl.training.ranks import world_size

#: Batches that are asked whether CutMix mixes them, and how far the share of those that say yes
#: may lie from the probability: five standard deviations.
_CUTMIX_BATCHES = 400
_CUTMIX_DEVIATIONS = 5.0


def other_batch_size(live: Live) -> str | None:
    """A train split that is smaller than a batch gives one batch of all its images."""
    images = live.sample.info.counts["train"]
    size = len(live.run.plan.rows(0))
    whole = max(world_size(), min(live.params.batch_size, images))
    return None if size == whole else f"batches of {size}"


def other_augmentation(live: Live) -> str | None:
    """The transforms as built, where they are not those of the sampled policy."""
    transforms = live.run.plan.augmentation.transforms()
    if transforms == policy_transforms(live.params.augmentation):
        return None
    names = [transform["__class_fullname__"] for transform in transforms]
    return f"the transforms {', '.join(names)}" if names else "no transforms"


def other_cutmix(live: Live) -> str | None:
    """What the plan holds, and how often it decides to mix."""
    plan, wanted = live.run.plan, live.params.cutmix
    if not equal(plan.settings.cutmix, wanted):
        return f"{plan.settings.cutmix:g}"
    share = sum(plan.mixes(number) for number in range(_CUTMIX_BATCHES)) / _CUTMIX_BATCHES
    spread = math.sqrt(wanted * (1 - wanted) / _CUTMIX_BATCHES)
    # The last term is for probabilities so small that a few batches are many deviations.
    slack = _CUTMIX_DEVIATIONS * (spread + 1 / _CUTMIX_BATCHES) if spread else 0.0
    return None if abs(share - wanted) <= slack else f"{share:.3f} of the batches"


def other_oversampling(live: Live) -> str | None:
    """What the plan holds, and whether its images come as often as is asked for."""
    plan, wanted = live.run.plan, live.params.oversample
    if plan.settings.oversample != wanted:
        return plan.settings.oversample
    weights = image_weights(plan.split, plan.pool, wanted)
    wrong = wrongly_drawn(plan.epoch_rows, plan.pool, weights)
    return (
        f"an epoch with {wrong} of {len(plan.pool)} images too often or rarely" if wrong else None
    )
