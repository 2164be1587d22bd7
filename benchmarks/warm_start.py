"""How long from a trial's proposal to its first step, in a new process and in one used before.

    python benchmarks/warm_start.py [--trials 6]

Real trials of the smallest network on `builtin:surface-defects` run on Ray Tune one after another,
as in a search. From a trial's proposal to its first optimizer step there are the process, its
imports, the dataset, the network, the proof of its sample and the first batch; its costs are known
before and only read. The first trial meets a cold process, the others get the one that is there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from automl.conductor.conductor import Conductor
from automl.conductor.snapshot import Snapshot
from automl.distributed import connection
from automl.records import TrialConfig, TrialMessage, Verdict
from automl.reporting import Reporter
from automl.space.experiment import Experiment
from automl.space.search_plan import plan_of
from automl.store.journal import Journal

if TYPE_CHECKING:
    from automl.jobs.context import JobContext
    from automl.jobs.trial import TrialRun


@dataclass
class Proposals:
    """Notes when each trial was proposed: the snapshot that follows a proposal has one more."""

    seconds: list[float] = field(default_factory=list)
    running: int = 0

    def on_message(self, config: TrialConfig, message: TrialMessage, verdict: Verdict) -> None:
        """Nothing."""

    def on_promoted(self, config: TrialConfig, epoch: int) -> None:
        """Nothing."""

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Note a proposal."""
        if snapshot.running > self.running:
            self.seconds.append(time.time())
        self.running = snapshot.running


def train_noting_the_first_step(run: TrialRun) -> bool:
    """Train as ever; write when the first optimizer step is taken, and in which process."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    from automl.jobs.trial import train_in_this_process

    file = run.folder / "first-step.json"

    def note(*_: object) -> None:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"time": time.time(), "process": os.getpid()}))

    hook = register_optimizer_step_pre_hook(note)
    try:
        return train_in_this_process(run)
    finally:
        hook.remove()


def start_trial(config: TrialConfig, reporter: Reporter, *, context: JobContext) -> None:
    """A trial of a search."""
    from automl.jobs.trial import run_trial

    run_trial(config, context, reporter, train=train_noting_the_first_step)


def first_steps(trials: int, root: Path) -> tuple[list[float], list[int]]:
    """Seconds from proposal to first step, and the process, of each trial."""
    from automl.data.importing import cached_dataset
    from automl.distributed.fleet import FixedFleet
    from automl.distributed.tune_run import TuneSettings, run_on_tune
    from automl.jobs.context import JobContext
    from automl.jobs.costs import measure_costs, prepare_reference

    experiment = Experiment.from_json(
        {
            "data": {"size": [64, 64]},
            "space": {
                "encoder": "mobilenetv3_small_050",
                "decoder_width": 16,
                "learning_rate": {"float": [1e-4, 1e-2], "log": True, "default": 1e-3},
            },
            "search": {"trials": trials, "sampler": "random"},
            "train": {"epochs": 1, "device": "cpu"},
        }
    )
    dataset = cached_dataset(
        experiment.data.source, size=experiment.data.size, split_seed=0, cache=None
    )
    context = JobContext(
        experiment=experiment, study_root=root, dataset_root=dataset.root, threads=1
    )
    prepare_reference(context)
    measure_costs(TrialConfig(number=0, seed=0, params=experiment.space.default()), context)
    proposals = Proposals()
    with Journal(context.folder.journal_file) as log:
        conductor = Conductor(plan_of(experiment), log, observer=proposals, clock=time.monotonic)
        settings = TuneSettings(
            resources={"CPU": 1.0}, fleet=FixedFleet(1), max_failures=0, storage=root / "ray"
        )
        run_on_tune(conductor, partial(start_trial, context=context), settings)
        results = conductor.results()
    notes = [
        json.loads((context.folder.trial(r.config.trial_id) / "first-step.json").read_text())
        for r in results
    ]
    seconds = [n["time"] - began for n, began in zip(notes, proposals.seconds, strict=True)]
    return seconds, [n["process"] for n in notes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=6)
    options = parser.parse_args()
    with connection.connected(), tempfile.TemporaryDirectory() as folder:
        seconds, processes = first_steps(options.trials, Path(folder))
    warm = seconds[1:]
    print(f"{options.trials} trials in {len(set(processes))} process(es)")
    print("from a trial's proposal to its first step:")
    print(f"  a new process:          {seconds[0]:6.2f} s")
    print(
        f"  a process used before:  {statistics.median(warm):6.2f} s "
        f"(median of {len(warm)}; {min(warm):.2f} to {max(warm):.2f})"
    )


if __name__ == "__main__":
    main()
