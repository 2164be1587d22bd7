"""What our training costs above a bare PyTorch loop, side by side in one run.

    python benchmarks/overhead.py [--data builtin:surface-defects] [--rounds 9]

Prints two shares:

1. of a whole trial's wall time (building, exporting and timing the network, epochs, evaluation,
   checkpoints), the part spent in training steps, in loading data, and in the rest;
2. the throughput of our loop's training (`Stepper`: loading, augmenting, schedule, clipping,
   checks) against a bare loop that does only forward, loss, backward and step on the same model
   and the same images, prepared beforehand. They take turns, an epoch each, and are compared by
   processor time.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from automl.data.batching import BatchSettings, epoch_batches, num_batches
from automl.data.dataset import Dataset
from automl.data.importing import cached_dataset
from automl.jobs.context import JobContext
from automl.jobs.costs import prepare_reference
from automl.jobs.network import build_network
from automl.jobs.settings import fit_settings, supervised_loss
from automl.jobs.trial import run_trial
from automl.records import TrialConfig, TrialMessage, Verdict
from automl.space.experiment import Experiment
from automl.space.parameters import TrialParameters
from automl.store.layout import StudyFolder
from automl.training.evaluation import normalise
from automl.training.optimizers import build_optimizer
from automl.training.precision import resolve_precision
from automl.training.schedules import Timetable
from automl.training.settings import FitSettings
from automl.training.steps import Stepper, TrainingStep

_THREADS = 1


class _Listener:
    """Takes the times of a trial and lets it go on."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.costs_seconds = 0.0

    def report(self, config: TrialConfig, message: TrialMessage) -> Verdict:
        self.seconds = message.seconds
        if message.kind == "costs":
            self.costs_seconds = message.seconds
        return Verdict.CONTINUE


def measure_trial(dataset: Dataset, params: TrialParameters, epochs: int) -> None:
    experiment = Experiment.from_json(
        {"space": {"encoder": params.encoder}, "train": {"epochs": epochs, "device": "cpu"}}
    )
    values = {name: getattr(params, name) for name in params.__dataclass_fields__}
    config = TrialConfig(number=0, seed=0, params=values)
    with tempfile.TemporaryDirectory() as scratch:
        context = JobContext(
            experiment=experiment,
            study_root=Path(scratch),
            dataset_root=dataset.root,
            threads=_THREADS,
        )
        prepare_reference(context)
        listener = _Listener()
        run_trial(config, context, listener)
        folder = StudyFolder(Path(scratch)).trial(config.trial_id) / "checkpoint"
        state = json.loads((sorted(folder.glob("epoch-*"))[-1] / "state.json").read_text())
    progress = state["body"]["extra"]["progress"]
    parts = {
        "training steps": progress["step_seconds"],
        "waiting for data": progress["train_seconds"] - progress["step_seconds"],
        "evaluation": progress["evaluation_seconds"],
        "cost before training": listener.costs_seconds,
    }
    parts["checkpoints and the rest"] = listener.seconds - sum(parts.values())
    print(f"one trial of {epochs} epochs, {listener.seconds:.1f} s in all:")
    for name, seconds in parts.items():
        print(f"  {name:<26} {seconds / listener.seconds:7.1%}")
    own = progress["step_seconds"] / progress["train_seconds"]
    print(f"  steps / training epochs    {own:7.1%}")


def measure_steps(
    dataset: Dataset,
    params: TrialParameters,
    rounds: int,
    *,
    precision: str = "fp32",
    most_batches: int | None = None,
) -> dict[str, list[float]]:
    """Throughputs of ours over the bare loop's, a round each; the first round warms up."""
    train = Experiment.from_json({"space": {"encoder": params.encoder}}).train
    settings = fit_settings(
        params, train, normalisation=dataset.info.normalisation, seed=0, epochs=2 * rounds + 2
    )
    split = dataset.split("train")
    batching = BatchSettings(
        batch_size=params.batch_size, augmentation=params.augmentation, shuffle=True
    )
    model = build_network(params, dataset.info, seed=0).to(memory_format=torch.channels_last)
    ours = our_stepper(copy.deepcopy(model), dataset, params, settings, precision)
    raw = list(islice(epoch_batches(split, batching, epoch=0), most_batches))
    prepared = [
        (normalise(batch.images_nhwc, settings.normalisation), batch.masks_nhw.long())
        for batch in raw
    ]
    bare = BareLoop(model, dataset, params, settings, precision)
    seconds: dict[str, list[float]] = {"bare": [], "steps": [], "whole": []}
    for epoch in range(rounds + 1):
        loaded = islice(epoch_batches(split, batching, epoch=epoch), most_batches)
        turns = {
            "bare": partial(bare.epoch, prepared),
            "steps": partial(ours.run_epoch, raw, 2 * epoch),
            "whole": partial(ours.run_epoch, loaded, 2 * epoch + 1),
        }
        # Each takes each place in turn: what comes first in a round meets colder caches.
        names = list(turns)
        for name in names[epoch % 3 :] + names[: epoch % 3]:
            seconds[name].append(_cpu_seconds(turns[name]))
    return {
        label: [
            bare / own for bare, own in zip(seconds["bare"][1:], seconds[name][1:], strict=True)
        ]
        for label, name in (
            ("our steps alone", "steps"),
            ("with loading and augmenting", "whole"),
        )
    }


def print_ratios(ratios: dict[str, list[float]]) -> None:
    for name, values in ratios.items():
        spread = f"{min(values):.3f} to {max(values):.3f}"
        print(f"  {name:<30} {statistics.median(values):.3f} ({spread})", flush=True)


def _cpu_seconds(work: Callable[[], object]) -> float:
    """Processor time: all runs on one thread, and neighbours disturb wall time more."""
    started = time.process_time()
    work()
    return time.process_time() - started


def our_stepper(
    model: torch.nn.Module,
    dataset: Dataset,
    params: TrialParameters,
    settings: FitSettings,
    precision_name: str,
) -> Stepper:
    device = torch.device("cpu")
    precision = resolve_precision(precision_name, device)
    module = TrainingStep(model, supervised_loss(params, dataset.info))
    batching = BatchSettings(batch_size=settings.batch_size, shuffle=True)
    return Stepper(
        step_module=module,
        optimizer=build_optimizer(
            module, settings.optimizer, settings.learning_rate, settings.weight_decay
        ),
        scaler=precision.grad_scaler(),
        precision=precision,
        settings=settings,
        device=device,
        timetable=Timetable(
            (num_batches(len(dataset.split("train")), batching),) * settings.epochs
        ),
    )


class BareLoop:
    """Forward, loss, backward, step."""

    def __init__(
        self,
        model: torch.nn.Module,
        dataset: Dataset,
        params: TrialParameters,
        settings: FitSettings,
        precision_name: str,
    ) -> None:
        self.model = model.train()
        self.amp = precision_name == "bf16"
        self.loss = supervised_loss(params, dataset.info).loss
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=settings.learning_rate, fused=True
        )

    def epoch(self, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Train on batches."""
        for images, target in batches:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.amp):
                loss = self.loss(self.model(images), target)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="builtin:surface-defects")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256))
    parser.add_argument("--encoder", default="mobilenetv3_large_100")
    parser.add_argument("--decoder", default="fpn")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(_THREADS)
    dataset = cached_dataset(arguments.data, size=tuple(arguments.size), split_seed=0, cache=None)
    params = TrialParameters(
        encoder=arguments.encoder, decoder=arguments.decoder, augmentation="medium"
    )
    height, width = dataset.info.size
    print(f"{params.encoder} + {params.decoder}, {dataset.info.name} at {height} x {width}, CPU")
    print(f"throughput against a bare loop, {arguments.rounds} rounds, median (lowest to highest):")
    print_ratios(measure_steps(dataset, params, arguments.rounds))
    measure_trial(dataset, params, arguments.epochs)


if __name__ == "__main__":
    main()
