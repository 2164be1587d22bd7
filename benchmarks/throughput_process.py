"""The processes of `throughput.py`: ranks that train together, and what memory is measured in.

    python benchmarks/throughput_process.py KIND DATASET FOLDER OUT RANK WORLD

KIND is `rank` (one epoch by `fit`), `ours` or `bare` (twelve steps); prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path

import torch
import torch.distributed as dist

from automl.data.batching import BatchSettings, EpochPlan
from automl.data.dataset import Dataset, open_dataset
from automl.jobs.network import build_network
from automl.jobs.settings import fit_settings, supervised_loss
from automl.records import Verdict
from automl.space.parameters import TrialParameters
from automl.space.training import TrainSettings
from automl.training.loop import fit

PARAMS = TrialParameters(
    encoder="mobilenetv3_small_100", decoder_width=64, augmentation="medium", batch_size=8
)
_STEPS = 12


def cpu_and_wall(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of wall time, and of processor time of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def in_processes(
    kind: str, root: Path, *, folder: Path = Path(), world: int = 1
) -> list[dict[str, float]]:
    """What each of `world` fresh processes printed."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, __file__, kind, str(root), str(folder), scratch]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        started = [
            subprocess.Popen(
                [*command, str(rank), str(world)], stdout=subprocess.PIPE, env=environment
            )
            for rank in range(world)
        ]
        printed = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"a process of {kind} failed")
    return [json.loads(text.splitlines()[-1]) for text in printed]


class _GoOn:
    def report(self, epoch: int, metrics: Mapping[str, float]) -> Verdict:
        return Verdict.CONTINUE


def train_one_epoch(dataset: Dataset) -> dict[str, float]:
    """`wall` is what training took, without scoring val; `cpu` all of this rank."""
    settings = fit_settings(
        PARAMS,
        TrainSettings(epochs=1, device="cpu"),
        normalisation=dataset.info.normalisation,
        seed=0,
    )
    model = build_network(PARAMS, dataset.info, seed=0)
    loss = supervised_loss(PARAMS, dataset.info)
    started = time.process_time()
    result = fit(model, dataset, settings, step_loss=loss, reporter=_GoOn())
    return {"wall": result.train_seconds, "cpu": time.process_time() - started}


def memory_of_ours(dataset: Dataset, _folder: Path) -> None:
    from overhead import our_stepper

    settings = fit_settings(
        PARAMS, TrainSettings(), normalisation=dataset.info.normalisation, seed=0
    )
    model = build_network(PARAMS, dataset.info, seed=0).to(memory_format=torch.channels_last)
    batching = BatchSettings(batch_size=8, augmentation=PARAMS.augmentation, shuffle=True)
    batches = EpochPlan(dataset.split("train"), batching, 0).batches()
    our_stepper(model, dataset, PARAMS, settings, "fp32").run_epoch(islice(batches, _STEPS), 0)


def memory_of_bare(dataset: Dataset, folder: Path) -> None:
    from overhead import BareLoop
    from throughput import FilesDataset
    from torch.utils.data import DataLoader

    settings = fit_settings(
        PARAMS, TrainSettings(), normalisation=dataset.info.normalisation, seed=0
    )
    model = build_network(PARAMS, dataset.info, seed=0).to(memory_format=torch.channels_last)
    files = FilesDataset(folder / "train", dataset.info, PARAMS.augmentation, "pillow")
    loop = BareLoop(model, dataset, PARAMS, settings, "fp32")
    for images_nhwc, masks_nhw in islice(DataLoader(files, 8, shuffle=True), _STEPS):
        loop.epoch([(images_nhwc.permute(0, 3, 1, 2).float().div_(255), masks_nhw)])


def _memory() -> dict[str, float]:
    status = Path("/proc/self/status").read_text()
    private = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_mb": peak_kib * 1024 / 1e6, "anonymous_mb": int(private.split()[1]) * 1024 / 1e6}


def main(kind: str, root: Path, folder: Path, out: Path, rank: int, world: int) -> None:
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=world
        )
    dataset = open_dataset(root)
    if kind == "rank":
        found = train_one_epoch(dataset)
    else:
        {"ours": memory_of_ours, "bare": memory_of_bare}[kind](dataset, folder)
        found = _memory()
    if world > 1:
        dist.destroy_process_group()
    print(json.dumps(found))


if __name__ == "__main__":
    kind, root, folder, out, rank, world = sys.argv[1:]
    main(kind, Path(root), Path(folder), Path(out), int(rank), int(world))
