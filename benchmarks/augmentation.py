"""What augmentation and mixes cost: images a second that one thread prepares.

    python benchmarks/augmentation.py [--data SOURCE] [--size 192 256] [--rounds 5] [--images 48]

Prepares batches of 8 as training does, with each policy, each declared transform at magnitude 0.5
applied to every image, and each mix of every batch. All take turns in each round; the ratio to
`none` is the median over the rounds of the ratio within a round, so that a busy machine slows both
sides. Processor time is counted, not wall time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

from automl.data.augment import POLICIES
from automl.data.batching import BatchSettings, EpochPlan
from automl.data.dataset import ArrowSplit
from automl.data.importing import cached_dataset
from automl.data.mixing.layers import MIXES
from automl.space.policies.policy import Policy, Step
from automl.space.policies.transforms import TRANSFORMS

_BASE = BatchSettings(batch_size=8, shuffle=True)


def recipes() -> Mapping[str, BatchSettings]:
    """What is compared, by name; the first is the base of all ratios."""
    policies = {name: replace(_BASE, augmentation=name) for name in POLICIES}
    transforms = {kind: replace(_BASE, augmentation=_alone(kind)) for kind in TRANSFORMS}
    mixes = {f"none + {name}": replace(_BASE, **{name: 1.0}) for name in MIXES}
    return {**policies, **mixes, **transforms}


def _alone(kind: str) -> Policy:
    settings = tuple(TRANSFORMS[kind].values({}).items())
    return Policy(name=kind, steps=(Step(kind=kind, p=1.0, settings=settings),))


def seconds_an_image(split: ArrowSplit, settings: BatchSettings, epoch: int, images: int) -> float:
    """Processor seconds to prepare an image, over whole batches."""
    plan = EpochPlan(split, settings, epoch)
    plan.batch(0)  # builds the pipeline
    numbers = range(max(1, min(len(plan), images // settings.batch_size)))
    started = time.process_time()
    for number in numbers:
        plan.batch(number)
    return (time.process_time() - started) / (len(numbers) * settings.batch_size)


def main() -> None:
    """Measure in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="builtin:surface-defects")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=48)
    arguments = parser.parse_args()
    size = (arguments.size[0], arguments.size[1])
    split = cached_dataset(arguments.data, size=size).split("train")
    tried = recipes()
    found: dict[str, list[float]] = {name: [] for name in tried}
    for turn in range(arguments.rounds):
        for name, settings in tried.items():
            found[name].append(seconds_an_image(split, settings, turn, arguments.images))
    base = found["none"]
    print(
        f"{Path(arguments.data).name} at {size[0]} x {size[1]}, one thread, batches of 8, "
        f"{arguments.rounds} rounds of {arguments.images} images, processor time"
    )
    print(f"{'':22}{'images/s':>10}{'ms/image':>10}{'x none':>8}")
    for name, times in found.items():
        ratio = median(one / other for one, other in zip(times, base, strict=True))
        print(f"{name:22}{1 / median(times):10.0f}{1000 * median(times):10.2f}{ratio:8.1f}")


if __name__ == "__main__":
    main()
