"""What each term of a distillation is worth: one student, one teacher, all else equal.

    python benchmarks/distillation.py --data DIR --out DIR [--epochs 12] [--seeds 2]

Trains a teacher, and for each seed a small student alone and with each term of the distillation in
turn, for as many epochs. `gain` is over the student alone of the same seed, in mIoU on val. Every
training keeps its checkpoints in OUT, so the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean

import torch
from compression_bench import Bench, parameters

from automl.compression.distill import DistillationLoss, DistillationSettings
from automl.data.importing import cached_dataset
from automl.models.build import SegmentationNet
from automl.space.parameters import TrialParameters
from automl.stages.claim import claim
from automl.store.atomic import write_json

ALONE = "alone"
NAMES = str.maketrans("", "", " ,=")
#: Weights of the terms, and whether the logits' pixels weigh as their classes do in the task.
TERMS: Mapping[str, tuple[Mapping[str, float], bool]] = {
    "logits, T = 2, classes weighted": ({"logit_weight": 1.0}, True),
    "logits, T = 2": ({"logit_weight": 1.0}, False),
    "channels, T = 4": ({"channel_weight": 1.0}, True),
    "stages": ({"feature_weight": 1.0}, True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="builtin:surface-defects")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, nargs=2, default=(128, 160))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--teacher", default="resnet18:fpn:128", help="encoder:decoder:width")
    parser.add_argument("--student", default="mobilenetv3_small_100:fpn_lite:32")
    given = parser.parse_args()
    torch.set_num_threads(1)
    asked = {name: str(v) for name, v in vars(given).items() if name not in ("out", "seeds")}
    claim(given.out, asked, source=Path(given.data), what="trainings")
    dataset = cached_dataset(given.data, size=tuple(given.size), split_seed=0)
    bench = Bench(dataset, given.out, "cpu")
    big, little = parameters(given.teacher), parameters(given.student)
    teacher = bench.alone("teacher", bench.network(big, 0), big, given.epochs, 0)
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(given.seeds):
        for term in (ALONE, *TERMS):
            name = f"{term.translate(NAMES)}-{seed}"
            model = bench.network(little, seed)
            started = time.process_time()
            if term == ALONE:
                bench.alone(name, model, little, given.epochs, seed)
            else:
                loss = _taught(bench, model, teacher, little, term, seed)
                bench.fit(name, model, little, loss, epochs=given.epochs, seed=seed)
            spent = given.out / f"{name}.json"
            if not spent.exists():
                write_json(spent, time.process_time() - started)
            found.setdefault(term, []).append((bench.miou[name], json.loads(spent.read_text())))
    _print(found, bench.miou["teacher"])


def _taught(
    bench: Bench,
    model: SegmentationNet,
    teacher: SegmentationNet,
    params: TrialParameters,
    term: str,
    seed: int,
) -> DistillationLoss:
    weights, weighted = TERMS[term]
    settings = DistillationSettings(**{"logit_weight": 0.0, "channel_weight": 0.0, **weights})
    loss = bench.taught(model, teacher, params, seed, settings)
    if not weighted:
        loss.weigh(None)
    return loss


def _print(found: Mapping[str, list[tuple[float, float]]], teacher: float) -> None:
    print(f"\nteacher: val mIoU {teacher:.4f}")
    print(f"{'':<34}{'mIoU':>8}  gain, seed by seed  {'CPU time':>12}")
    alone = found[ALONE]
    for term, runs in found.items():
        gains = [run[0] - base[0] for run, base in zip(runs, alone, strict=True)]
        told = "" if term == ALONE else ", ".join(f"{gain:+.4f}" for gain in gains)
        time_ratio = mean(run[1] for run in runs) / mean(run[1] for run in alone)
        print(f"{term:<34}{mean(run[0] for run in runs):>8.4f}  {told:<20}{time_ratio:>11.2f}x")


if __name__ == "__main__":
    main()
