"""Whether elastic weight consolidation forgets less than plain fine-tuning, and what it costs.

The images of a dataset are divided by brightness at the median of the train split: the bright part
is the old data, the dark one the new. Both train on their part of train, and are scored on every
second image of their part of test (of CamVid's own val all images are dark). A network is trained
on the old data, then goes on with the new data under several strengths, each by `automl train`.

    python benchmarks/continual.py --data data/camvid --seeds 0 1
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from automl.data.dataset import Dataset
from automl.data.importing import cached_dataset
from automl.data.writing import DatasetWriter
from automl.records import SPLITS

SIZE = (96, 128)
STEPS = {"val": slice(0, None, 2), "test": slice(1, None, 2)}
SPACE = """
data: {{size: [{height}, {width}]}}
space:
  encoder: mobilenetv3_small_100
  decoder: fpn_lite
  decoder_width: 64
  learning_rate: 2.0e-3
  batch_size: 8
  augmentation: light
compress: {{int8: false}}
target: {{rounds: 3}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1))
    parser.add_argument("--epochs", type=int, nargs=2, default=(12, 6), metavar=("OLD", "NEW"))
    parser.add_argument("--lambdas", type=float, nargs="+", default=(0, 1, 10, 100, 1000))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run(options, Path(scratch))


def run(options: argparse.Namespace, root: Path) -> None:
    bright, dark = halves(cached_dataset(options.data, size=SIZE), root)
    space = root / "space.yaml"
    space.write_text(SPACE.format(height=SIZE[0], width=SIZE[1]))
    old_epochs, new_epochs = options.epochs
    print(f"{old_epochs} epochs on the bright part, then {new_epochs} on the dark one; mIoU")
    print("seed  lambda  old before  old after  change  new before  new after  change")
    for seed in options.seeds:
        start = root / f"old{seed}"
        train("--space", space, "--data", bright, "--out", start, old_epochs, seed)
        for strength in options.lambdas:
            out = root / f"new{seed}-{strength:g}"
            words = ["--continue-from", start, "--data", dark, "--ewc-lambda", strength]
            train(*words, "--out", out, "--params", "learning_rate=1e-3", new_epochs, seed)
            print(f"{seed:>4}  {strength:>6g}  {row(out)}", flush=True)


def train(*words: object) -> None:
    *options, epochs, seed = words
    more = ["--epochs", epochs, "--seed", seed]
    command = [sys.executable, "-m", "automl", "train", *options, *more]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


def row(out: Path) -> str:
    scores = json.loads((out / "continual.json").read_text())["scores"]
    cells = []
    for name in ("old", "new"):
        found = next(score for score in scores if score["data"] == name)
        before, after = found["before"]["miou"], found["after"]["miou"]
        cells.append(f"{before:>10.4f}  {after:>9.4f}  {after - before:>+.3f}")
    return "  ".join(cells)


def halves(dataset: Dataset, root: Path) -> tuple[Path, Path]:
    """Two imported datasets, of the images above and below the median brightness of train."""
    brightness = {split: levels(dataset, split) for split in SPLITS}
    middle = float(np.median(brightness["train"]))
    found = []
    for name, is_bright in (("bright", True), ("dark", False)):
        place = root / name
        place.mkdir()
        with DatasetWriter(place, classes=dataset.info.classes, size=dataset.info.size) as writer:
            for split in SPLITS:
                source, step = (
                    ("train", slice(None)) if split == "train" else ("test", STEPS[split])
                )
                rows = np.flatnonzero((brightness[source] > middle) == is_bright)[step]
                copy(dataset, source, rows, split, writer)
                print(f"{name}: {len(rows)} {split} images", flush=True)
            writer.finish(name, ignore_index=dataset.info.ignore_index)
        found.append(place)
    return found[0], found[1]


def levels(dataset: Dataset, split: str) -> np.ndarray:
    rows = dataset.split(split)
    return np.array([rows.image(row).mean() for row in range(len(rows))])


def copy(
    dataset: Dataset, source: str, rows: np.ndarray, split: str, writer: DatasetWriter
) -> None:
    found = dataset.split(source)
    for row in map(int, rows):
        writer.add(split, found.name(row), found.image(row), found.mask(row))


if __name__ == "__main__":
    main()
