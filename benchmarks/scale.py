"""What the search itself costs a trial, from the first to the last of many.

    python benchmarks/scale.py [--trials 10000] [--sampler random]

Trials that only report go through the real conductor, its rungs, proposals and journal (each event
on disk), one at a time. Prints milliseconds and memory for each quarter of the trials, and the cost
of the last quarter as a multiple of the first: 1 is flat.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from automl.conductor.conductor import Conductor
from automl.conductor.snapshot import Snapshot
from automl.records import Measurement, TrialConfig, TrialMessage, TrialStatus, Verdict
from automl.space.experiment import Experiment
from automl.space.search_plan import plan_of
from automl.store.journal import Journal

EPOCHS = 3


class Silent:
    """Watches and says nothing."""

    def on_message(self, config: TrialConfig, message: TrialMessage, verdict: Verdict) -> None:
        """Nothing."""

    def on_promoted(self, config: TrialConfig, epoch: int) -> None:
        """Nothing."""

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Nothing."""


def run(conductor: Conductor, config: TrialConfig, epochs_done: dict[str, int]) -> None:
    """Report costs, then epochs until the trial has to wait or has ended."""
    width = float(config.params["decoder_width"])
    accuracy = float(config.params["alpha"]) * (1 - 1 / width)
    costs = (Measurement(metric="latency_ms", value=width / 10),)
    conductor.handle(config.trial_id, TrialMessage(kind="costs", seconds=0.0, measurements=costs))
    for epoch in range(epochs_done.get(config.trial_id, 0) + 1, EPOCHS + 1):
        epochs_done[config.trial_id] = epoch
        metrics = {"miou": accuracy * epoch / EPOCHS}
        message = TrialMessage(kind="epoch", seconds=0.0, epoch=epoch, metrics=metrics)
        if conductor.handle(config.trial_id, message) is not Verdict.CONTINUE:
            return
    end = TrialMessage(kind="end", seconds=0.0, status=TrialStatus.COMPLETED)
    conductor.handle(config.trial_id, end)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--sampler", default="random")
    options = parser.parse_args()
    experiment = Experiment.from_json(
        {
            "space": {
                "decoder_width": {"int": [16, 512], "step": 8, "default": 64},
                "alpha": {"float": [0.0, 1.0], "default": 0.5},
                "gamma": {"float": [0.0, 5.0], "default": 2.0},
            },
            "search": {"trials": options.trials, "sampler": options.sampler},
            "train": {"epochs": EPOCHS},
        }
    )
    quarters: list[float] = []
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "journal.jsonl") as log:
        conductor = Conductor(plan_of(experiment), log, observer=Silent(), clock=time.monotonic)
        epochs_done: dict[str, int] = {}
        quarter = options.trials // 4
        started = time.perf_counter()
        while (config := conductor.next_trial()) is not None:
            run(conductor, config, epochs_done)
            if config.number == quarter * (len(quarters) + 1) - 1 and config.number < quarter * 4:
                now = time.perf_counter()
                quarters.append(1000 * (now - started) / quarter)
                started = now
                memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                print(
                    f"to trial {config.number + 1:>6}: {quarters[-1]:6.2f} ms a trial, "
                    f"{1000 / quarters[-1]:6.0f} trials/s, {memory_mb:5.0f} MB at most",
                    flush=True,
                )
        started = time.perf_counter()
        again = Conductor(plan_of(experiment), log, observer=Silent(), clock=time.monotonic)
        seconds = time.perf_counter() - started
        assert again.next_trial() is None
    print(f"last quarter / first quarter: {quarters[-1] / quarters[0]:.2f}")
    print(f"the journal of all {options.trials} trials read again: {seconds:.1f} s")


if __name__ == "__main__":
    main()
