"""What pre-training an encoder on images without masks gives, where all or few of them have masks.

    python benchmarks/pretraining.py --data data/camvid --seeds 0 1

For each seed an encoder learns from all training images by `automl pretrain`. Then `automl train`
trains, with all masks and with those of each eighth image, from scratch, from that encoder, and
from scratch for as much processor time as both took. Prints the mIoU of the exported files, on val
and test, and the processor time of each.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import numpy as np
from continual import copy

from automl.data.dataset import Dataset
from automl.data.importing import cached_dataset
from automl.data.writing import DatasetWriter
from automl.records import SPLITS

SIZE = (96, 128)
SCORED = ("val", "test")
#: Every so many training images have masks; and the epochs that so few are trained for.
SHARES = {"all": (1, 30), "each eighth": (8, 120)}
ENCODER = "mobilenetv3_small_100"
SPACE = f"""
data: {{size: [{SIZE[0]}, {SIZE[1]}]}}
space:
  encoder: {ENCODER}
  decoder: fpn_lite
  decoder_width: 64
  learning_rate: 2.0e-3
  batch_size: 8
  augmentation: medium
  class_weights: balanced
compress: {{int8: false}}
target: {{rounds: 3}}
train: {{device: cpu}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training: on which masks, from what, and for how long."""

    seed: int
    masks: str
    start: str
    epochs: int
    encoder: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The mIoU on val and test of what was exported, and the processor seconds."""

    job: Job
    seconds: float
    val: float
    test: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1))
    parser.add_argument("--epochs", type=int, default=100, help="of pre-training")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        space = root / "space.yaml"
        space.write_text(SPACE)
        whole = cached_dataset(options.data, size=SIZE)
        folders = {name: thinned(whole, root, every) for name, (every, _) in SHARES.items()}
        with ProcessPoolExecutor(options.processes) as pool:
            jobs = [
                pool.submit(of_seed, seed, space, folders, options.epochs) for seed in options.seeds
            ]
            found = [trained for job in jobs for trained in job.result()]
    print(f"{ENCODER} + fpn_lite 64, {whole.info.name} at {SIZE[0]} x {SIZE[1]},")
    print(f"{options.epochs} epochs of pre-training, seeds {' '.join(map(str, options.seeds))}")
    print_table(found)


def print_table(found: list[Trained]) -> None:
    """A line for each way to start, with the means of its seeds, and each of them."""
    print("masks        start            epochs  CPU s  mIoU val                 test")
    for masks, start in dict.fromkeys((one.job.masks, one.job.start) for one in found):
        runs = [one for one in found if (one.job.masks, one.job.start) == (masks, start)]
        epochs = mean(one.job.epochs for one in runs)
        seconds = mean(one.seconds for one in runs)
        scores = "  ".join(_told([getattr(one, split) for one in runs]) for split in SCORED)
        print(f"{masks:<12} {start:<16} {epochs:>6.0f} {seconds:>6.0f}  {scores}")


def _told(scores: list[float]) -> str:
    return f"{mean(scores):.4f} ({', '.join(f'{score:.4f}' for score in scores)})"


def of_seed(seed: int, space: Path, folders: dict[str, Path], epochs: int) -> list[Trained]:
    """All that is trained with one seed."""
    encoder = space.parent / f"encoder{seed}.safetensors"
    seconds = automl(
        *("pretrain", "--space", space, "--data", folders["all"], "--encoder", ENCODER),
        *("--epochs", epochs, "--out", encoder, "--seed", seed),
    )
    print(f"seed {seed}: pre-trained in {seconds:.0f} s", flush=True)
    found = []
    for masks, (_, usual) in SHARES.items():
        job = Job(seed=seed, masks=masks, start="scratch", epochs=usual)
        scratch = train(job, space, folders[masks])
        begun = train(replace(job, start="pre-trained", encoder=encoder), space, folders[masks])
        longer = round(usual * (seconds + begun.seconds) / scratch.seconds)
        as_long = replace(job, start="scratch, longer", epochs=longer)
        found += [scratch, begun, train(as_long, space, folders[masks])]
    return found


def train(job: Job, space: Path, data: Path) -> Trained:
    """One training by the command line."""
    out = space.parent / f"{job.masks} {job.start} {job.seed}".replace(" ", "-")
    words = [] if job.encoder is None else ["--params", f"pretrained={job.encoder}"]
    seconds = automl(
        *("train", "--space", space, "--data", data, "--out", out, "--epochs", job.epochs),
        *("--seed", job.seed, *words),
    )
    metrics = json.loads((out / "bundles" / "fp32" / "bundle.json").read_text())["metrics"]
    val, test = (metrics[split]["miou"] for split in SCORED)
    print(f"seed {job.seed}: {job.masks}, {job.start}: {val:.4f}, {test:.4f}", flush=True)
    return Trained(job=job, seconds=seconds, val=val, test=test)


def automl(*words: object) -> float:
    """Processor seconds of a command; what it says is shown where it fails."""
    before = _children()
    done = subprocess.run(
        [sys.executable, "-m", "automl", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return _children() - before


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def thinned(whole: Dataset, root: Path, every: int) -> Path:
    """A dataset with the masks of some training images alone, and all of val and test."""
    place = root / f"each{every}"
    place.mkdir()
    with DatasetWriter(place, classes=whole.info.classes, size=whole.info.size) as writer:
        for split in SPLITS:
            step = every if split == "train" else 1
            copy(whole, split, np.arange(0, len(whole.split(split)), step), split, writer)
        writer.finish(whole.info.name, ignore_index=whole.info.ignore_index)
    return place


if __name__ == "__main__":
    main()
