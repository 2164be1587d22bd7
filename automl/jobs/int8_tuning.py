"""Quantization-aware fine-tuning of a trained network: a few epochs of its own recipe, gently."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from automl.bundle.network import export_network
from automl.compression.calibrate import Ranges
from automl.compression.fold import fold_batch_norms
from automl.compression.qat import FakeQuantization, ranges_in_export
from automl.data.dataset import Dataset
from automl.jobs.candidates import FinishedNetwork
from automl.jobs.network import example_image
from automl.jobs.settings import fit_settings, supervised_loss
from automl.records import Verdict
from automl.space.compression import Int8Settings
from automl.space.experiment import Experiment
from automl.training.loop import fit
from automl.training.outcome import EpochReporter

#: Of the trial's learning rate: the network is trained, and only gets used to being rounded.
_RATE_SHARE = 0.1


class NeverStop:
    """Lets a training run to its end."""

    def report(self, epoch: int, metrics: Mapping[str, float]) -> Verdict:
        """Always go on."""
        return Verdict.CONTINUE


@dataclass(frozen=True, slots=True)
class KeepGoing:
    """Lets a training run to its end; after each epoch its checkpoint is kept for other nodes."""

    keep: Callable[[], None]

    def report(self, epoch: int, metrics: Mapping[str, float]) -> Verdict:
        """Keep, and go on."""
        self.keep()
        return Verdict.CONTINUE


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Fine-tunes a network for INT8; a run that was killed goes on from its checkpoint."""

    network: FinishedNetwork
    dataset: Dataset
    experiment: Experiment
    settings: Int8Settings
    seed: int
    checkpoints: Path
    reporter: EpochReporter = field(default_factory=NeverStop)

    def __call__(self, destination: Path) -> Ranges:
        """Train, export to `destination` in float32, and give the ranges learnt of its tensors."""
        info, params = self.dataset.info, self.network.params
        rate = self.settings.qat_learning_rate
        model = fold_batch_norms(self.network.model, example_image(info.size))
        settings = fit_settings(
            params,
            self.experiment.train,
            normalisation=self.network.normalisation,
            seed=self.seed,
            epochs=self.settings.qat_epochs,
            learning_rate=params.learning_rate * _RATE_SHARE if rate is None else rate,
        )
        policy = self.experiment.policy({**params.values(), **self.network.policy_params})
        if policy is not None:
            settings = replace(settings, augmentation=policy)
        rounding = FakeQuantization(model)
        fit(
            model,
            self.dataset,
            # Rounding in steps of a range needs the digits that half precision does not have.
            replace(settings, precision="fp32"),
            step_loss=supervised_loss(params, info),
            reporter=self.reporter,
            checkpoint_folder=self.checkpoints,
        )
        learnt = rounding.remove()
        export_network(model, size=info.size, path=destination)
        return ranges_in_export(destination, learnt)
