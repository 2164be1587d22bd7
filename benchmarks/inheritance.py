"""Whether a trial that starts from an earlier one's weights is better off after as many epochs.

    python benchmarks/inheritance.py [--epochs 6] [--donor-epochs 6] [--size 64 64]

For each pair a donor is trained; then its heir twice, from scratch and from the donor's weights
where they fit, with the same seed, order of images and number of epochs. Prints mIoU on val side by
side. A fair search asks more: an inherited trial has had its donor's epochs, too. So a third column
trains the heir from scratch for the epochs of both together.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass, replace

import torch
from torch import nn

from automl.data.dataset import Dataset
from automl.data.importing import cached_dataset
from automl.jobs.inheritance import inherit_weights
from automl.jobs.network import build_network
from automl.jobs.settings import fit_settings, supervised_loss
from automl.records import Verdict
from automl.space.experiment import Experiment
from automl.space.parameters import TrialParameters
from automl.training.loop import fit

_BASE = TrialParameters(
    encoder="mobilenetv3_small_100",
    decoder="fpn_lite",
    batch_size=8,
    learning_rate=3e-3,
    class_weights="balanced",
)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two trials as a search proposes them one after the other."""

    what: str
    donor: TrialParameters
    heir: TrialParameters


PAIRS = (
    Pair("same network, other training", _BASE, replace(_BASE, learning_rate=1.5e-3, alpha=0.3)),
    Pair("wider decoder", _BASE, replace(_BASE, decoder_width=96)),
    Pair("another decoder", _BASE, replace(_BASE, decoder="fpn")),
    Pair(
        "pruned by 0.2 and 0.25",
        replace(_BASE, pruning_ratio=0.2),
        replace(_BASE, pruning_ratio=0.25),
    ),
    Pair("whole, then pruned by 0.3", _BASE, replace(_BASE, pruning_ratio=0.3)),
    Pair("high learning rate first", replace(_BASE, learning_rate=6e-3), _BASE),
)


class _NeverStop:
    def report(self, epoch: int, metrics: object) -> Verdict:
        return Verdict.CONTINUE


class Bench:
    """Trains networks on one dataset."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        plain = {"space": {"alpha": 0.5}, "train": {"device": "cpu"}}
        self._train = Experiment.from_json(plain).train

    def network(self, params: TrialParameters, seed: int) -> nn.Module:
        """An untrained network."""
        return build_network(params, self._dataset.info, seed=seed)

    def miou(self, model: nn.Module, params: TrialParameters, epochs: int, seed: int) -> float:
        """Train the model in place; its mIoU on val."""
        info = self._dataset.info
        settings = fit_settings(
            params, self._train, normalisation=info.normalisation, seed=seed, epochs=epochs
        )
        loss = supervised_loss(params, info)
        fitted = fit(model, self._dataset, settings, step_loss=loss, reporter=_NeverStop())
        return fitted.scores.miou

    def compare(self, pair: Pair, donor_epochs: int, epochs: int, seed: int) -> list[float]:
        """The heir's mIoU with and without, and from scratch with the epochs of both."""
        donor = self.network(pair.donor, seed)
        self.miou(donor, pair.donor, donor_epochs, seed)
        heir = self.network(pair.heir, seed + 1)
        tensors = inherit_weights(heir, donor.state_dict())
        share = tensors / len(heir.state_dict())
        inherited = self.miou(heir, pair.heir, epochs, seed + 1)
        scratch = [
            self.miou(self.network(pair.heir, seed + 1), pair.heir, length, seed + 1)
            for length in (epochs, epochs + donor_epochs)
        ]
        print(
            f"{pair.what:<30} {share:7.0%} {inherited:10.4f} {scratch[0]:10.4f} {scratch[1]:10.4f}",
            flush=True,
        )
        return [inherited, *scratch]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="builtin:surface-defects")
    parser.add_argument("--size", type=int, nargs=2, default=(64, 64))
    parser.add_argument("--donor-epochs", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dataset = cached_dataset(arguments.data, size=tuple(arguments.size), split_seed=0, cache=None)
    bench = Bench(dataset)
    height, width = dataset.info.size
    epochs, donor_epochs = arguments.epochs, arguments.donor_epochs
    print(f"{dataset.info.name} at {height} x {width}, CPU, 1 thread, seed {arguments.seed}")
    print(f"donors trained for {donor_epochs} epochs, heirs for {epochs}; mIoU on val\n")
    print(f"{'heir':<30} {'tensors':>7} {'inherited':>10} {'scratch':>10} {'longer':>10}")
    rows = [bench.compare(pair, donor_epochs, epochs, arguments.seed) for pair in PAIRS]
    means = [statistics.mean(column) for column in zip(*rows, strict=True)]
    print(f"{'mean':<38} " + " ".join(f"{mean:10.4f}" for mean in means))
    more = sum(row[0] > row[1] for row in rows)
    longer = sum(row[0] > row[2] for row in rows)
    print(f"\ninherited above scratch in {more} of {len(rows)} pairs, above longer in {longer}")


if __name__ == "__main__":
    main()
