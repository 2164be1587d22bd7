"""Whether zero-cost proxies foretell trained accuracy in our own space.

    python benchmarks/proxies.py [--networks 24] [--epochs 8] [--size 64 64]

Trains random architectures of the shipped `lightweight` space, all else equal, and prints the
scores of each before training beside its mIoU on val after it. Then, side by side for each proxy:

1. Spearman's rank correlation with that mIoU, and its 90 % bootstrap interval;
2. what pre-screening would have gained: of random pools of two thirds of the networks, the mean
   mIoU of the four that the proxy likes best, one in each quarter by multiply-adds, minus the mean
   mIoU of the pool. Choosing at random gains 0 on average.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from automl.data.dataset import Dataset
from automl.data.importing import cached_dataset
from automl.jobs.network import build_network
from automl.jobs.screening import ARCHITECTURE, probe_batch
from automl.jobs.settings import fit_settings, supervised_loss
from automl.measurement.proxies import PROXIES, proxy_scores
from automl.records import Verdict
from automl.space.experiment import Experiment
from automl.space.loading import load_experiment
from automl.space.parameters import TrialParameters
from automl.stages.correlation import rank_correlation
from automl.training.loop import fit

_DRAWS = 2000
_KEPT = 4
_TRAINING = TrialParameters(batch_size=8, learning_rate=3e-3, class_weights="balanced")


class _NeverStop:
    def report(self, epoch: int, metrics: object) -> Verdict:
        return Verdict.CONTINUE


def random_architectures(space: str, count: int, seed: int) -> list[TrialParameters]:
    """Distinct architectures of a space, all with the same training parameters."""
    experiment = load_experiment(space)
    rng = np.random.default_rng(seed)
    found: dict[TrialParameters, None] = {}
    while len(found) < count:
        drawn = experiment.space.assign(lambda _name, domain: domain.at(rng.random()))
        found[replace(_TRAINING, **{name: drawn[name] for name in ARCHITECTURE})] = None
    return list(found)


def train(dataset: Dataset, params: TrialParameters, epochs: int, seed: int) -> float:
    """The mIoU on val after training from scratch."""
    settings = Experiment.from_json({"space": {"alpha": 0.5}, "train": {"device": "cpu"}}).train
    normalisation = dataset.info.normalisation
    fitted = fit(
        build_network(params, dataset.info, seed=seed),
        dataset,
        fit_settings(params, settings, normalisation=normalisation, seed=seed, epochs=epochs),
        step_loss=supervised_loss(params, dataset.info),
        reporter=_NeverStop(),
    )
    return fitted.scores.miou


def measure(dataset: Dataset, drawn: list[TrialParameters], epochs: int) -> NDArray[np.float64]:
    """Print and give one row a network: its mIoU, then its scores."""
    print(f"{'network':<42} {'seed':>4} {'mIoU':>7} " + " ".join(f"{n:>10}" for n in PROXIES))
    rows = []
    seconds = {"all proxies": 0.0, "training": 0.0}
    batch = probe_batch(dataset, dataset.info.normalisation, seed=0)
    for number, params in enumerate(drawn):
        started = time.process_time()
        scores = proxy_scores(build_network(params, dataset.info, seed=number), batch)
        scored = time.process_time()
        miou = train(dataset, params, epochs, number)
        seconds["all proxies"] += scored - started
        seconds["training"] += time.process_time() - scored
        rows.append([miou, *scores.values()])
        name = f"{params.encoder} {params.decoder} {params.decoder_width}"
        numbers = " ".join(f"{value:10.4f}" for value in scores.values())
        label = f"{name} -{params.pruning_ratio:.0%}"
        print(f"{label:<42} {number:>4} {miou:7.4f} {numbers}", flush=True)
    print("\nprocessor time: " + ", ".join(f"{k} {v:.0f} s" for k, v in seconds.items()))
    return np.array(rows)


def gain(scores: NDArray[np.float64], table: NDArray[np.float64]) -> list[float]:
    """Quartiles, over random pools, of what the chosen have above the mean of their pool."""
    mious, macs = table[:, 0], table[:, -1]
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(_DRAWS):
        pool = rng.choice(len(mious), size=len(mious) * 2 // 3, replace=False)
        by_cost = pool[np.argsort(macs[pool], kind="stable")]
        chosen = [part[np.argmax(scores[part])] for part in np.array_split(by_cost, _KEPT)]
        gains.append(float(mious[chosen].mean() - mious[pool].mean()))
    return np.percentile(gains, [25, 50, 75]).tolist()


def compare(table: NDArray[np.float64]) -> None:
    """Print the correlations and the gains side by side."""
    print(f"\n{'proxy':<10} {'Spearman (90 % interval)':<28} gain of mIoU (quartiles)")
    for column, name in enumerate(PROXIES, start=1):
        found = rank_correlation(table[:, column].tolist(), table[:, 0].tolist(), seed=0)
        low, middle, high = gain(table[:, column], table)
        assert found is not None, "scores and accuracies of random networks differ"
        text = f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f})"
        print(f"{name:<10} {text:<28} {middle:+.4f} ({low:+.4f} to {high:+.4f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="builtin:surface-defects")
    parser.add_argument("--size", type=int, nargs=2, default=(64, 64))
    parser.add_argument("--space", default="lightweight")
    parser.add_argument("--networks", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0, help="of the architectures")
    arguments = parser.parse_args()
    if arguments.networks < 3 * _KEPT:
        parser.error(f"--networks: given {arguments.networks}; allowed: >= {3 * _KEPT}")
    torch.set_num_threads(1)
    dataset = cached_dataset(arguments.data, size=tuple(arguments.size), split_seed=0, cache=None)
    height, width = dataset.info.size
    print(f"{dataset.info.name} at {height} x {width}, {arguments.epochs} epochs, CPU, 1 thread")
    print(f"architectures of {arguments.space} by seed {arguments.seed}\n")
    drawn = random_architectures(arguments.space, arguments.networks, arguments.seed)
    compare(measure(dataset, drawn, arguments.epochs))


if __name__ == "__main__":
    main()
