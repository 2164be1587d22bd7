"""How fast images are loaded and trained on, as ratios measured side by side in one run.

    python benchmarks/throughput.py --data data/camvid [--size 192 256] [--parts ...]

Prints, for a small network on a dataset folder (images and masks as files):

1. `loader`: images/s of our loader over those of a plain torch Dataset that decodes and resizes the
   files anew each epoch, with the same augmentation; both in one process, and both with two workers
   (ours are threads, those of the plain one processes);
2. `steps`: our training over a bare PyTorch loop, in fp32 and in bf16 (see `overhead.py`);
3. `workers`: two data-parallel processes of one thread each over one process of one thread, in
   steps of the same global batches; and two that each train on half of every batch without a word
   to the other, which is the most that the machine has to give;
4. `memory`: the peak of the resident memory of training by both;
5. `cuda`: AMP against fp32, and both compiled, in images/s and memory, where there is a GPU.

What runs in one thread is compared by its processor time, the rest by wall time, which needs a
machine that nobody else uses: the load is printed with it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import albumentations as alb
import cv2
import numpy as np
import torch
from overhead import measure_steps, print_ratios
from throughput_process import Team, cpu_and_wall, measured
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from automl.data.augment import POLICIES
from automl.data.batching import BatchSettings, EpochPlan
from automl.data.dataset import Dataset
from automl.data.decode import read_image, read_mask, resize_image, resize_mask
from automl.data.importing import cached_dataset
from automl.measurement.processor import cpu_model
from automl.records import IGNORE, DatasetInfo
from automl.space.parameters import TrialParameters

PARTS = ("loader", "steps", "workers", "memory", "cuda")
BATCH = 8


class FilesDataset(TorchDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Decodes, resizes and augments a file each time it is asked for; by Pillow or by OpenCV."""

    def __init__(self, folder: Path, info: DatasetInfo, policy: str, library: str) -> None:
        self.images = sorted((folder / "images").iterdir())
        self.masks = [(folder / "masks" / path.name).with_suffix(".png") for path in self.images]
        self.size = info.size
        self.ignored = info.ignore_index
        self.read = {"pillow": self._by_pillow, "opencv": self._by_opencv}[library]
        self.augment = alb.Compose(POLICIES[policy](IGNORE), is_check_shapes=False)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, mask = self.read(row)
        if self.ignored is not None:
            mask[mask == self.ignored] = IGNORE
        changed = self.augment(image=image, mask=mask)
        target = torch.from_numpy(changed["mask"].astype(np.int64))
        return torch.from_numpy(np.require(changed["image"], requirements=["C", "W"])), target

    def _by_pillow(self, row: int) -> tuple[Any, Any]:
        image = resize_image(read_image(self.images[row]), self.size)
        mask = np.array(read_mask(self.masks[row]), dtype=np.uint8)
        return image, np.array(resize_mask(mask, self.size))

    def _by_opencv(self, row: int) -> tuple[Any, Any]:
        height, width = self.size
        image = cv2.cvtColor(cv2.imread(str(self.images[row])), cv2.COLOR_BGR2RGB)
        mask = cv2.imread(str(self.masks[row]), cv2.IMREAD_GRAYSCALE)
        return (
            cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR),
            cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST),
        )


def measure_loader(dataset: Dataset, folder: Path, rounds: int) -> None:
    """Wall time with two workers, processor time without: there it is the same and steadier."""
    for policy in ("none", "light", "medium", "strong"):
        for workers in (0, 2):
            loads: dict[str, Callable[[], object]] = {
                "ours": partial(_walk, lambda p=policy, w=workers: _ours(dataset, p, w))
            }
            for library in ("pillow", "opencv"):
                plain = FilesDataset(folder / "train", dataset.info, policy, library)
                # Its processes stay from epoch to epoch, or starting them would be measured.
                loader = DataLoader(
                    plain, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
                )
                loads[library] = partial(_walk, loader.__iter__)
            seconds = _interleaved(loads, rounds, by_wall=workers > 0)
            rate = len(dataset.split("train")) / statistics.median(seconds["ours"])
            how = "1 process" if workers == 0 else "2 workers"
            ratios = ", ".join(
                f"{_ratio(seconds[name], seconds['ours'])} x {name}"
                for name in ("pillow", "opencv")
            )
            print(f"  {policy:<7} {how}  {rate:6.0f} images/s, {ratios}", flush=True)


def _ours(dataset: Dataset, policy: str, workers: int) -> Iterator[Any]:
    settings = BatchSettings(
        batch_size=BATCH, augmentation=policy, shuffle=True, loader_workers=workers
    )
    return EpochPlan(dataset.split("train"), settings, 0).batches()


def _walk(batches: Callable[[], Iterator[Any]]) -> None:
    for _ in batches():
        pass


def _interleaved(
    turns: dict[str, Callable[[], object]], rounds: int, *, by_wall: bool
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(rounds + 1):
        for name in list(turns) if number % 2 else reversed(list(turns)):
            wall, cpu = cpu_and_wall(turns[name])
            if number:  # the first round warms up
                seconds[name].append(wall if by_wall else cpu)
    return seconds


def _ratio(slow: list[float], fast: list[float]) -> str:
    """The median of the rounds' ratios, and their range."""
    ratios = [above / below for above, below in zip(slow, fast, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def measure_workers(dataset: Dataset, rounds: int) -> None:
    """All stay from round to round and take turns, so that a busy machine slows each alike."""
    with tempfile.TemporaryDirectory() as scratch:
        teams = {
            name: Team(kind, dataset.root, world, scratch)
            for name, kind, world in (
                ("alone", "apart", 1),
                ("together", "together", 2),
                ("apart", "apart", 2),
            )
        }
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in teams}
        for number in range(rounds + 1):
            for name in list(teams) if number % 2 else reversed(list(teams)):
                found = teams[name].train()
                if number:  # the first round warms up
                    seconds[name].append(found)
        for team in teams.values():
            team.end()
    for name, label in (("together", "one network"), ("apart", "without a word")):
        for which, kind in enumerate(("wall time", "processor time a rank")):
            alone, both = ([found[which] for found in seconds[key]] for key in ("alone", name))
            print(f"  {label:<15} {kind:<22} {_ratio(alone, both)} x", flush=True)


def measure_memory(dataset: Dataset, folder: Path) -> None:
    for kind, label in (("ours", "our training"), ("bare", "files, DataLoader, bare loop")):
        peak = measured(kind, dataset.root, folder)
        print(
            f"  {label:<30} {peak['peak_mb']:6.0f} MB, of which {peak['anonymous_mb']:.0f} MB "
            "private at the end",
            flush=True,
        )


def measure_cuda(dataset: Dataset, params: TrialParameters, rounds: int) -> None:
    if not torch.cuda.is_available():
        print("  no CUDA here")
        return
    from throughput_cuda import measure_cuda_steps

    measure_cuda_steps(dataset, params, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    dataset = cached_dataset(
        str(arguments.data), size=tuple(arguments.size), split_seed=0, cache=None
    )
    params = TrialParameters(
        encoder="mobilenetv3_small_100", decoder_width=64, augmentation="medium"
    )
    height, width = dataset.info.size
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else cpu_model()
    print(f"{params.encoder} + {params.decoder} {params.decoder_width}, {dataset.info.name} at")
    print(
        f"{height} x {width}, batches of {BATCH}; {device}, {os.cpu_count()} cores, torch "
        f"{torch.__version__}; median (lowest to highest) of {arguments.rounds} rounds"
    )
    for part in arguments.parts:
        print(f"{part} (load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores)")
        if part == "loader":
            measure_loader(dataset, arguments.data, arguments.rounds)
        elif part == "steps":
            for precision in ("fp32", "bf16"):
                print(f"  {precision}, our throughput over the bare loop's:")
                print_ratios(
                    measure_steps(
                        dataset, params, arguments.rounds, precision=precision, most_batches=8
                    )
                )
        elif part == "workers":
            measure_workers(dataset, arguments.rounds)
        elif part == "memory":
            measure_memory(dataset, arguments.data)
        else:
            measure_cuda(dataset, params, arguments.rounds)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
