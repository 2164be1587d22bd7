"""Whether cheaper epochs before a rung rank trials as full ones do.

    python benchmarks/fidelity.py [--networks 8] [--epochs 12] [--rung 6] [--size 64 64]

Trains random networks of the shipped `lightweight` space to the end on all data at full size, and
then each of them up to the rung on a share of the data, at a smaller size, and on both. Prints the
mIoU on val at the rung, and for each way side by side:

1. Spearman's rank correlation between the mIoU at the rung and that at the end of full training;
2. the processor time to the rung, scoring included, as a share of what full training takes;
3. the same correlation for full training that is cut short to take as long: that of the epoch
   whose time comes nearest. A way is worth its while where it is above this one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from automl.data.dataset import Dataset
from automl.data.importing import cached_dataset
from automl.fidelity import FULL, Fidelity, Stretch
from automl.jobs.network import build_network
from automl.jobs.settings import fit_settings, supervised_loss
from automl.records import Verdict
from automl.space.experiment import Experiment
from automl.space.loading import load_experiment
from automl.space.parameters import TrialParameters
from automl.stages.correlation import rank_correlation
from automl.training.loop import fit

_TRAINING = TrialParameters(batch_size=8, learning_rate=3e-3, class_weights="balanced")
_DRAWN = ("encoder", "decoder", "decoder_width", "pruning_ratio", "alpha", "gamma")

#: Share of the data and of height and width up to the rung.
_WAYS = {"data 0.25": (0.25, 1.0), "data 0.5": (0.5, 1.0), "size 0.5": (1.0, 0.5)}
_WAYS |= {"data, size 0.5": (0.5, 0.5)}


@dataclass(slots=True)
class _Watch:
    """Keeps the mIoU after each epoch and the processor seconds up to it; stops after one."""

    stop_after: int
    started: float = field(default_factory=time.process_time)
    mious: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def report(self, epoch: int, metrics: Mapping[str, float]) -> Verdict:
        self.mious.append(metrics["miou"])
        self.seconds.append(time.process_time() - self.started)
        return Verdict.STOP if epoch >= self.stop_after else Verdict.CONTINUE


@dataclass(frozen=True, slots=True)
class Bench:
    """Trains networks on one dataset for `epochs` epochs, or up to the rung."""

    dataset: Dataset
    epochs: int
    rung: int

    def full(self, params: TrialParameters, seed: int) -> _Watch:
        """Train on all there is, to the end."""
        return self._train(params, seed, FULL, self.epochs)

    def cheap(self, params: TrialParameters, seed: int, shares: tuple[float, float]) -> _Watch:
        """Train on shares of the data and of the size, up to the rung."""
        data_share, size_share = shares
        first = Stretch(last_epoch=self.rung, data_share=data_share, size_share=size_share)
        fidelity = Fidelity(stretches=(first, Stretch(last_epoch=self.epochs)))
        return self._train(params, seed, fidelity, self.rung)

    def _train(self, params: TrialParameters, seed: int, fidelity: Fidelity, stop: int) -> _Watch:
        info = self.dataset.info
        train = Experiment.from_json({"space": {"alpha": 0.5}, "train": {"device": "cpu"}}).train
        settings = fit_settings(
            params, train, normalisation=info.normalisation, seed=seed, epochs=self.epochs
        )
        watch = _Watch(stop)
        fit(
            build_network(params, info, seed=seed),
            self.dataset,
            replace(settings, fidelity=fidelity),
            step_loss=supervised_loss(params, info),
            reporter=watch,
        )
        return watch


def random_networks(space: str, count: int, seed: int) -> list[TrialParameters]:
    """Networks and losses of a space, all trained alike else."""
    experiment = load_experiment(space)
    rng = np.random.default_rng(seed)
    drawn = [
        experiment.space.assign(lambda _name, domain: domain.at(rng.random())) for _ in range(count)
    ]
    return [replace(_TRAINING, **{name: each[name] for name in _DRAWN}) for each in drawn]


def measure(bench: Bench, networks: list[TrialParameters]) -> dict[str, list[_Watch]]:
    """Print a row a network; what was watched, by way."""
    rung = bench.rung
    heads = [f"full, {bench.epochs}", f"full, {rung}", *_WAYS]
    print(f"{'mIoU on val of network':<40} " + " ".join(f"{head:>14}" for head in heads))
    found: dict[str, list[_Watch]] = {name: [] for name in ("full", *_WAYS)}
    for number, params in enumerate(networks):
        found["full"].append(bench.full(params, number))
        for name, shares in _WAYS.items():
            found[name].append(bench.cheap(params, number, shares))
        full = found["full"][-1].mious
        mious = [full[-1], full[rung - 1], *(found[name][-1].mious[-1] for name in _WAYS)]
        label = f"{params.encoder} {params.decoder} {params.decoder_width}"
        label += f" -{params.pruning_ratio:.0%}"
        print(f"{label:<40} " + " ".join(f"{miou:14.4f}" for miou in mious), flush=True)
    return found


def compare(found: dict[str, list[_Watch]], rung: int) -> None:
    """Print correlations and times side by side."""
    full = found["full"]
    final = [watch.mious[-1] for watch in full]
    to_rung = sum(watch.seconds[rung - 1] for watch in full)
    print(f"\n{'up to the rung':<16} {'Spearman':>9} {'time':>6}   full for as long")
    print(f"{'full':<16} {_correlation([w.mious[rung - 1] for w in full], final):>9} {1:>6.0%}")
    for name in _WAYS:
        own = sum(watch.seconds[-1] for watch in found[name])
        epoch = min(
            range(1, rung + 1), key=lambda e: abs(sum(w.seconds[e - 1] for w in full) - own)
        )
        short = sum(watch.seconds[epoch - 1] for watch in full) / to_rung
        alike = _correlation([watch.mious[epoch - 1] for watch in full], final)
        value = _correlation([watch.mious[-1] for watch in found[name]], final)
        print(f"{name:<16} {value:>9} {own / to_rung:>6.0%}   {alike} (epoch {epoch}, {short:.0%})")


def _correlation(scores: list[float], final: list[float]) -> str:
    found = rank_correlation(scores, final, seed=0)
    return "-" if found is None else f"{found.value:+.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="builtin:surface-defects")
    parser.add_argument("--size", type=int, nargs=2, default=(64, 64))
    parser.add_argument("--space", default="lightweight")
    parser.add_argument("--networks", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--rung", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0, help="of the networks")
    arguments = parser.parse_args()
    if not 1 <= arguments.rung < arguments.epochs:
        parser.error(f"--rung: given {arguments.rung}; allowed: 1 to {arguments.epochs - 1}")
    torch.set_num_threads(1)
    dataset = cached_dataset(arguments.data, size=tuple(arguments.size), split_seed=0, cache=None)
    height, width = dataset.info.size
    print(
        f"{dataset.info.name} at {height} x {width}, {arguments.epochs} epochs, "
        f"rung at {arguments.rung}, CPU, 1 thread"
    )
    print(f"networks of {arguments.space} by seed {arguments.seed}\n")
    bench = Bench(dataset, arguments.epochs, arguments.rung)
    networks = random_networks(arguments.space, arguments.networks, arguments.seed)
    compare(measure(bench, networks), arguments.rung)


if __name__ == "__main__":
    main()
