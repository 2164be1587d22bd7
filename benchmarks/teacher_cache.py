"""What recording a teacher's answers saves and costs: fresh augmentation against fixed views.

    python benchmarks/teacher_cache.py --out DIR [--epochs 12] [--tune-epochs 4] [--seeds 3]

One teacher is trained. From each seed a small student is taught from scratch, and the teacher
pruned by half is tuned, three ways each: the teacher computes in every step on images augmented
anew, and its answers are recorded of 1 and of 4 views of each image. All else is equal. CPU seconds
are those of one thread, scoring on val after each epoch included; what recording takes is told
apart, since all students of a teacher share it. Every finished training is a line of
OUT/runs.jsonl, so a run that is cut goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import nn

from automl.compression.distill import DistillationSettings
from automl.data.dataset import Dataset
from automl.data.importing import cached_dataset
from automl.jobs.int8_tuning import NeverStop
from automl.jobs.narrowing import Narrowing, narrow
from automl.jobs.network import build_network
from automl.jobs.settings import fit_settings, supervised_loss
from automl.jobs.students import teaching_loss
from automl.jobs.teaching import Recording, recorded
from automl.models.build import SegmentationNet
from automl.space.compression import CompressSettings, TeacherCache
from automl.space.parameters import TrialParameters
from automl.space.pruning import PruningSettings
from automl.space.training import TrainSettings
from automl.training.loop import fit
from automl.training.settings import FitSettings

BASE = TrialParameters(
    encoder="resnet18",
    decoder="fpn",
    decoder_width=64,
    batch_size=8,
    learning_rate=2e-3,
    class_weights="balanced",
    augmentation="medium",
)
SMALL = replace(BASE, encoder="mobilenetv3_small_100", decoder="fpn_lite", decoder_width=32)
#: Views of each way; 0 is fresh augmentation.
WAYS = (0, 1, 4)
RATIO = 0.5
#: What is taught.
KINDS = ("student", "pruned")


class Bench:
    """Trains on one dataset; the teacher and finished runs in `out` are not made again."""

    def __init__(self, dataset: Dataset, out: Path, epochs: int, tune_epochs: int) -> None:
        self.dataset, self.out = dataset, out
        self.epochs = {"student": epochs, "pruned": tune_epochs}
        self.train = TrainSettings(device="cpu")
        self.teacher = build_network(BASE, dataset.info, seed=0)

    def settings(self, params: TrialParameters, epochs: int, seed: int) -> FitSettings:
        """How all train."""
        return fit_settings(
            params,
            self.train,
            normalisation=self.dataset.info.normalisation,
            seed=seed,
            epochs=epochs,
        )

    def teach(self, epochs: int) -> None:
        """Train the teacher, or take it from its checkpoint."""
        done = fit(
            self.teacher,
            self.dataset,
            self.settings(BASE, epochs, 0),
            step_loss=supervised_loss(BASE, self.dataset.info),
            reporter=NeverStop(),
            checkpoint_folder=self.out / "teacher",
        )
        print(f"teacher: {epochs} epochs, val mIoU {done.scores.miou:.4f}", flush=True)

    def run(self, kind: str, views: int, seed: int) -> dict[str, Any]:
        """Teach once; what the table needs to know of it."""
        model, params = self.network(kind, seed)
        loss = teaching_loss(
            model,
            self.teacher,
            settings=DistillationSettings(),
            params=params,
            dataset=self.dataset,
            seed=seed,
        )
        settings = replace(self.settings(params, self.epochs[kind], seed), views=views)
        cost: dict[str, float] = {"record_s": 0.0, "record_mb": 0.0}
        if views:
            place = self.out / f"teaching-{kind}"
            started = time.process_time()
            answers = recorded(_recording(place, self.teacher, self.dataset, settings))
            cost["record_s"] = time.process_time() - started
            cost["record_mb"] = (answers.folder / "answers.arrow").stat().st_size / 1e6
            loss.recall(answers)
        started = time.process_time()
        done = fit(model, self.dataset, settings, step_loss=loss, reporter=NeverStop())
        cost["cpu_s"] = time.process_time() - started
        shutil.rmtree(self.out / f"teaching-{kind}", ignore_errors=True)
        return {"kind": kind, "views": views, "seed": seed, "miou": done.scores.miou, **cost}

    def network(self, kind: str, seed: int) -> tuple[SegmentationNet, TrialParameters]:
        """What is taught: a student from scratch, or the teacher pruned by half."""
        if kind == "student":
            return build_network(SMALL, self.dataset.info, seed=seed), SMALL
        narrowing = Narrowing(
            ratio=RATIO,
            how=PruningSettings(),
            dataset=self.dataset,
            params=BASE,
            normalisation=self.dataset.info.normalisation,
        )
        return narrow(self.teacher, narrowing), BASE


def _recording(
    place: Path, teacher: nn.Module, dataset: Dataset, settings: FitSettings
) -> Recording:
    cache = TeacherCache(views=settings.views)
    return Recording(
        place=place,
        teacher=teacher,
        dataset=dataset,
        settings=settings,
        compress=CompressSettings(teacher_cache=cache),
    )


def table(runs: list[dict[str, Any]]) -> Iterator[str]:
    """A row each kind and way; differences are paired by seed with fresh augmentation."""
    head = f"{'kind':<9}{'views':>6}{'seeds':>6}{'mIoU val':>10}{'sd':>8}{'- fresh':>9}"
    yield head + f"{'CPU s':>8}{'x fresh':>9}{'record s':>10}{'record MB':>11}"
    for kind in KINDS:
        fresh = {r["seed"]: r for r in runs if r["kind"] == kind and r["views"] == 0}
        for views in WAYS:
            some = [r for r in runs if r["kind"] == kind and r["views"] == views]
            some = [r for r in some if r["seed"] in fresh]
            if not some:
                continue
            scores = [r["miou"] for r in some]
            gap = mean(r["miou"] - fresh[r["seed"]]["miou"] for r in some)
            ratio = mean(r["cpu_s"] / fresh[r["seed"]]["cpu_s"] for r in some)
            spread = stdev(scores) if len(scores) > 1 else float("nan")
            yield (
                f"{kind:<9}{views if views else 'fresh':>6}{len(some):>6}{mean(scores):>10.4f}"
                f"{spread:>8.4f}{gap:>+9.4f}{mean(r['cpu_s'] for r in some):>8.1f}{ratio:>9.2f}"
                f"{mean(r['record_s'] for r in some):>10.1f}"
                f"{mean(r['record_mb'] for r in some):>11.1f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="builtin:surface-defects")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, nargs=2, default=(96, 96))
    parser.add_argument("--teacher-epochs", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--tune-epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    dataset = cached_dataset(given.data, size=tuple(given.size), split_seed=0)
    bench = Bench(dataset, given.out, given.epochs, given.tune_epochs)
    bench.teach(given.teacher_epochs)
    kept = given.out / "runs.jsonl"
    runs = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {(run["kind"], run["views"], run["seed"]) for run in runs}
    for seed in range(given.seeds):
        for kind in given.kinds:
            for views in WAYS:
                if (kind, views, seed) in done:
                    continue
                runs.append(bench.run(kind, views, seed))
                with kept.open("a") as stream:
                    stream.write(json.dumps(runs[-1]) + "\n")
    print("\n".join(table(runs)), flush=True)


if __name__ == "__main__":
    main()
