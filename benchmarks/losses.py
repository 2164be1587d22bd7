"""Which loss helps on a dataset, and what each costs.

    python benchmarks/losses.py [--data SOURCE] [--size 64 64] [--epochs 8] [--seeds 3]

Trains one network with each recipe, all else equal and with the same seeds, and prints one row a
recipe: mean and standard deviation over the seeds of the mIoU on val, the difference from the first
recipe, paired by seed, with its 95 % interval (Student's t), the mean IoU of the class that is
worst in each run, and the processor time of a training step as a multiple of the first recipe's,
steps of all recipes taken in turn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from statistics import mean, median, stdev

import torch

from automl.data.batching import BatchSettings, epoch_batches
from automl.data.dataset import Dataset
from automl.data.importing import cached_dataset
from automl.jobs.network import build_network
from automl.jobs.settings import fit_settings, supervised_loss
from automl.measurement.quality import SegmentationScores
from automl.measurement.repeats import mean_interval
from automl.records import Verdict
from automl.space.parameters import TrialParameters
from automl.space.training import TrainSettings
from automl.training.evaluation import normalise
from automl.training.loop import fit

_BASE = TrialParameters(decoder_width=32, batch_size=8, learning_rate=3e-3)
RECIPES: Mapping[str, Mapping[str, object]] = {
    "default: dice + focal": {},
    "cross entropy": {"alpha": 0.0, "gamma": 0.0},
    "dice + cross entropy": {"gamma": 0.0},
    "generalised_dice + focal": {"region_loss": "generalised_dice"},
    "lovasz + focal": {"region_loss": "lovasz"},
    "label_smoothing 0.1": {"label_smoothing": 0.1},
    "ohem_share 0.25": {"ohem_share": 0.25},
    "boundary_weight 5": {"boundary_weight": 5.0},
    "class_weights balanced": {"class_weights": "balanced"},
    "class_weights effective": {"class_weights": "effective"},
    "oversample effective": {"oversample": "effective"},
    "balanced + oversample": {"class_weights": "balanced", "oversample": "effective"},
}


class _NeverStop:
    def report(self, epoch: int, metrics: object) -> Verdict:
        return Verdict.CONTINUE


def train(dataset: Dataset, params: TrialParameters, epochs: int, seed: int) -> SegmentationScores:
    """The scores on val after training from scratch."""
    normalisation = dataset.info.normalisation
    train = TrainSettings(device="cpu", epochs=epochs)
    return fit(
        build_network(params, dataset.info, seed=seed),
        dataset,
        fit_settings(params, train, normalisation=normalisation, seed=seed),
        step_loss=supervised_loss(params, dataset.info),
        reporter=_NeverStop(),
    ).scores


def step_ratios(dataset: Dataset, rounds: int) -> dict[str, float]:
    """The processor time of forward and backward pass, over the first recipe's of its round."""
    split = dataset.split("train")
    batch = next(epoch_batches(split, BatchSettings(batch_size=_BASE.batch_size, shuffle=True), 0))
    images_nchw = normalise(batch.images_nhwc, dataset.info.normalisation)
    network = build_network(_BASE, dataset.info, seed=0).train()
    losses = {
        name: supervised_loss(replace(_BASE, **recipe), dataset.info)
        for name, recipe in RECIPES.items()
    }
    ratios: dict[str, list[float]] = {name: [] for name in RECIPES}
    for number in range(rounds + 1):
        seconds = {}
        for name, loss in losses.items():
            started = time.process_time()
            torch.autograd.backward(loss(network, images_nchw, batch.masks_nhw.long()))
            seconds[name] = time.process_time() - started
        if number > 0:  # the first round warms up
            first = next(iter(seconds.values()))
            for name, taken in seconds.items():
                ratios[name].append(taken / first)
    return {name: median(found) for name, found in ratios.items()}


def compare(dataset: Dataset, epochs: int, seeds: int, ratios: Mapping[str, float]) -> None:
    """Train with each recipe and print its row."""
    print(
        f"{'recipe':<26} {'mIoU':>6} {'sd':>6} {'gain, 95 % interval':>20} {'worst':>6} {'step':>5}"
    )
    base: list[float] = []
    for name, recipe in RECIPES.items():
        params = replace(_BASE, **recipe)
        runs = [train(dataset, params, epochs, seed) for seed in range(seeds)]
        mious = [scores.miou for scores in runs]
        worst = mean(min(iou for iou in scores.iou if iou is not None) for scores in runs)
        if not base:
            base = mious
        gains = mean_interval([own - other for own, other in zip(mious, base, strict=True)])
        gain = f"{gains.mean:+.4f} +- {gains.half_width:.4f}"
        print(
            f"{name:<26} {mean(mious):6.4f} {stdev(mious):6.4f} {gain:>20} {worst:6.4f} "
            f"{ratios[name]:5.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="builtin:surface-defects")
    parser.add_argument("--size", type=int, nargs=2, default=(64, 64))
    parser.add_argument("--epochs", type=int, default=8, help="0: only the steps are timed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=30, help="of timed steps")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error(f"--seeds: given {arguments.seeds}; allowed: >= 2")
    torch.set_num_threads(1)
    dataset = cached_dataset(arguments.data, size=tuple(arguments.size), split_seed=0, cache=None)
    height, width = dataset.info.size
    print(f"{dataset.info.name} at {height} x {width}, CPU, 1 thread")
    print(f"{_BASE.encoder} {_BASE.decoder} {_BASE.decoder_width}, {arguments.epochs} epochs\n")
    ratios = step_ratios(dataset, arguments.rounds)
    if arguments.epochs > 0:
        compare(dataset, arguments.epochs, arguments.seeds, ratios)
        return
    for name, ratio in ratios.items():
        print(f"{name:<26} {ratio:5.2f}")


if __name__ == "__main__":
    main()
