"""The processes of `throughput.py`: ranks that train together, and what memory is measured in.

    python benchmarks/throughput_process.py KIND DATASET FOLDER OUT RANK WORLD

KIND is `ours` or `bare` (twelve steps, then one line of JSON), `together` (a rank of WORLD that
train one network) or `apart` (trains on the same share of each batch, but knows of no other). The
latter two take some steps for each line of the standard input, and answer each with one of JSON.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch
import torch.distributed as dist

from automl.data.batching import BatchSettings, EpochPlan
from automl.data.dataset import Dataset, open_dataset
from automl.jobs.network import build_network
from automl.jobs.settings import fit_settings, supervised_loss
from automl.space.parameters import TrialParameters
from automl.space.training import TrainSettings
from automl.training.loop import prepared

PARAMS = TrialParameters(
    encoder="mobilenetv3_small_100", decoder_width=64, augmentation="medium", batch_size=8
)
_STEPS = 12


def cpu_and_wall(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of wall time, and of processor time of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def measured(kind: str, root: Path, folder: Path) -> dict[str, float]:
    """What a fresh process of a kind printed."""
    with tempfile.TemporaryDirectory() as scratch:
        process = _start(kind, root, folder, scratch, 0, 1)
        printed = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"a process of {kind} failed")
    return json.loads(printed.splitlines()[-1])


class Team:
    """Fresh processes that train together, or each for itself, whenever they are told to.

    What they do not do they do not cost: in between they wait for a line.
    """

    def __init__(self, kind: str, root: Path, world: int, scratch: str) -> None:
        self._processes = [
            _start(kind, root, Path(), scratch, rank, world) for rank in range(world)
        ]

    def train(self) -> tuple[float, float]:
        """Seconds of wall time, and of one rank's processor time, of some steps: the slowest's."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        told = [json.loads(_line(process)) for process in self._processes]
        return max(wall for wall, _ in told), max(cpu for _, cpu in told)

    def end(self) -> None:
        """Let them go."""
        for process in self._processes:
            process.communicate()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a process that trains has ended")
    return line


def _start(
    kind: str, root: Path, folder: Path, scratch: str, rank: int, world: int
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, kind, root, folder, scratch, str(rank), str(world)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
    )


def train_when_told(dataset: Dataset, rank: int, world: int) -> None:
    """Take some steps, on this rank's share of each batch, for each line that is read."""
    settings = fit_settings(
        PARAMS,
        TrainSettings(epochs=1, device="cpu"),
        normalisation=dataset.info.normalisation,
        seed=0,
    )
    batching = BatchSettings(
        batch_size=PARAMS.batch_size,
        augmentation=PARAMS.augmentation,
        shuffle=True,
        global_rank=rank,
        world_size=world,
    )
    plan = EpochPlan(dataset.split("train"), batching, 0)
    model = build_network(PARAMS, dataset.info, seed=0)
    loss = supervised_loss(PARAMS, dataset.info)
    with prepared(model, dataset, settings, step_loss=loss) as run:
        for _ in sys.stdin:
            seconds = cpu_and_wall(lambda: run.stepper.run_epoch(islice(plan.batches(), _STEPS), 0))
            print(json.dumps(seconds), flush=True)


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
    dataset = open_dataset(root)
    if kind == "apart":
        train_when_told(dataset, rank, world)
    elif kind == "together":
        dist.init_process_group(
            "gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=world
        )
        train_when_told(dataset, rank, world)
        dist.destroy_process_group()
    else:
        {"ours": memory_of_ours, "bare": memory_of_bare}[kind](dataset, folder)
        print(json.dumps(_memory()))


if __name__ == "__main__":
    kind, root, folder, out, rank, world = sys.argv[1:]
    main(kind, Path(root), Path(folder), Path(out), int(rank), int(world))
