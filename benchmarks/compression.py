"""What pruning, distillation and INT8 make of one teacher, measured side by side in one run.

    python benchmarks/compression.py --data DIR --out DIR [--epochs 30] [--tune-epochs 8]

Trains a teacher and a small student (alone; distilled; alone for as many seconds of optimizer steps
as the distilled one took), prunes the teacher at three ratios and tunes each with the teacher as
teacher, and trains each pruned shape from scratch for as many epochs. Everything is exported and
quantized to INT8 per channel, scored in ONNX Runtime, and timed in turns in ONNX Runtime and
OpenVINO. The goals come last, each with its number. Every training keeps its checkpoints in OUT, so
the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from compression_bench import Bench, Row, parameters
from compression_goals import print_goals, print_table

from automl.data.importing import cached_dataset
from automl.models.build import SegmentationNet
from automl.space.parameters import TrialParameters
from automl.stages.claim import claim
from automl.store.atomic import write_json

RATIOS = (0.25, 0.5, 0.7)


def once(file: Path, make: Callable[[], int]) -> int:
    """A number that depends on measured times, and must not change when a run goes on."""
    if not file.exists():
        write_json(file, make())
    return int(json.loads(file.read_text()))


def students(
    bench: Bench, teacher: SegmentationNet, params: TrialParameters, epochs: int, seeds: int
) -> dict[str, SegmentationNet]:
    """The student alone, distilled, and alone for the distilled one's seconds, for each seed."""
    made = {}
    for seed in range(seeds):
        alone, taught, longer = (f"student-{kind}-{seed}" for kind in ("alone", "taught", "longer"))
        made[alone] = bench.alone(alone, bench.network(params, seed), params, epochs, seed)
        model = bench.network(params, seed)
        loss = bench.taught(model, teacher, params, seed)
        bench.fit(taught, model, params, loss, epochs=epochs, seed=seed)
        made[taught] = model
        ratio = bench.seconds[taught] / bench.seconds[alone]
        more = once(bench.out / f"{longer}.json", lambda r=ratio: round(epochs * r))
        made[longer] = bench.alone(longer, bench.network(params, seed), params, more, seed)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="builtin:surface-defects")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256))
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--tune-epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--teacher", default="resnet18:fpn:128", help="encoder:decoder:width")
    parser.add_argument("--student", default="mobilenetv3_small_100:fpn_lite:32")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(1)
    asked = {name: str(v) for name, v in vars(given).items() if name not in ("out", "rounds")}
    claim(given.out, asked, source=Path(given.data), what="trainings")
    dataset = cached_dataset(given.data, size=tuple(given.size), split_seed=0)
    bench = Bench(dataset, given.out, given.device)
    big, little = parameters(given.teacher), parameters(given.student)
    teacher = bench.alone("teacher", bench.network(big, 0), big, given.epochs, 0)
    models = {"teacher": teacher, **students(bench, teacher, little, given.epochs, given.seeds)}
    for ratio in RATIOS:
        name = f"pruned-{ratio:g}"
        models[name] = bench.pruned(name, teacher, big, ratio, given.tune_epochs)
        bench.scratch(f"scratch-{ratio:g}", big, ratio, given.tune_epochs)
    report(bench, models, given.seeds, given.rounds)


def report(bench: Bench, models: dict[str, SegmentationNet], seeds: int, rounds: int) -> None:
    """Export, quantize, score and time all, and print it."""
    files = {}
    for name, model in models.items():
        files |= bench.files(name, model)
    rows = bench.rows(files, rounds)
    print_table(rows)
    print("\nfamilies: pruned and tuned, against the same shape from scratch for as many epochs")
    for ratio in RATIOS:
        tuned, scratch = f"pruned-{ratio:g}", f"scratch-{ratio:g}"
        print(
            f"  {ratio:>4g}  val mIoU {bench.miou[tuned]:.4f} against {bench.miou[scratch]:.4f}, "
            f"seconds of steps {bench.seconds[tuned]:.0f} against {bench.seconds[scratch]:.0f}"
        )
    gains = {
        against: [_gain(rows, seed, against) for seed in range(seeds)]
        for against in ("alone", "longer")
    }
    print_goals(rows, gains)


def _gain(rows: Mapping[str, Row], seed: int, against: str) -> float:
    """Points of mIoU on test that the teacher adds."""
    taught, other = rows[f"student-taught-{seed}"], rows[f"student-{against}-{seed}"]
    return 100 * (taught.miou["test"] - other.miou["test"])


if __name__ == "__main__":
    main()
