"""What the batches about to be walked through really hold, for `jobs/applied.py`."""

from __future__ import annotations

import math
from collections.abc import Callable

from automl.data.augment import policy_transforms
from automl.data.oversampling import image_weights, wrongly_drawn
from automl.jobs.applied_loss import equal
from automl.jobs.applied_policy import class_names
from automl.jobs.live import Live
from automl.training.ranks import world_size

#: Batches that are asked whether a mix is applied to them, and how far the share of those that say
#: yes may lie from the probability: five standard deviations.
_ASKED_BATCHES = 400
_DEVIATIONS = 5.0


def other_batch_size(live: Live) -> str | None:
    """A train split that is smaller than a batch gives one batch of all its images."""
    images = live.sample.info.counts["train"]
    size = len(live.run.plan.rows(0))
    whole = max(world_size(), min(live.params.batch_size, images))
    return None if size == whole else f"batches of {size}"


def other_augmentation(live: Live) -> str | None:
    """The transforms as built, where they are not those of the sampled policy.

    Of a declared policy the kinds alone; their values have names of their own
    (`applied_policy.py`).
    """
    built, policy = live.run.plan.augmentation, live.sample.policy
    transforms = built.transforms()
    if policy is None:
        right = transforms == policy_transforms(live.params.augmentation, built.size)
    else:
        right = class_names(transforms) == class_names(policy_transforms(policy, built.size))
    if right:
        return None
    return f"the transforms {', '.join(class_names(transforms))}" if transforms else "no transforms"


def other_mix(name: str) -> Callable[[Live], str | None]:
    """The proof of a mix: what the plan holds, and how often it decides to mix."""

    def find(live: Live) -> str | None:
        plan, wanted = live.run.plan, getattr(live.params, name)
        if not equal(getattr(plan.settings, name), wanted):
            return f"{getattr(plan.settings, name):g}"
        share = sum(plan.mixes(name, number) for number in range(_ASKED_BATCHES)) / _ASKED_BATCHES
        spread = math.sqrt(wanted * (1 - wanted) / _ASKED_BATCHES)
        # The last term is for probabilities so small that a few batches are many deviations.
        slack = _DEVIATIONS * (spread + 1 / _ASKED_BATCHES) if spread else 0.0
        return None if abs(share - wanted) <= slack else f"{share:.3f} of the batches"

    return find


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
