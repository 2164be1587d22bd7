"""What the search itself costs a trial, from the first to the last of many.

    python benchmarks/scale.py [--trials 10000] [--sampler random]
    python benchmarks/scale.py --ray 1000
    python benchmarks/scale.py --simulate

Trials that only report go through the real conductor, its rungs, proposals and journal (each event
on disk), one at a time. Prints milliseconds and memory for each quarter of the trials, and the cost
of the last quarter as a multiple of the first: 1 is flat. With --ray so many such trials run on
Ray Tune, as those of a search do, in as many processes as there are cores; prints trials a second
among the first and the last hundred, and the driver's memory. With --simulate recorded trials run
on up to 1,000 workers of a simulated clock: see `scale_simulation.py`.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from automl.conductor.conductor import Conductor
from automl.conductor.snapshot import Snapshot
from automl.jobs.context import available_cpus
from automl.records import Measurement, TrialConfig, TrialMessage, TrialStatus, Verdict
from automl.reporting import Reporter
from automl.space.experiment import Experiment
from automl.space.search_plan import plan_of
from automl.store.journal import Journal

EPOCHS = 3
JOURNAL = Path("results/camvid-lightweight/journal.jsonl")


class Silent:
    """Watches and says nothing."""

    def on_message(self, config: TrialConfig, message: TrialMessage, verdict: Verdict) -> None:
        """Nothing."""

    def on_promoted(self, config: TrialConfig, epoch: int) -> None:
        """Nothing."""

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Nothing."""


@dataclass
class Timeline(Silent):
    """When each trial first reported, and how many reports there were by then."""

    trials: dict[str, tuple[float, int]] = field(default_factory=dict)
    num_reports: int = 0

    def on_message(self, config: TrialConfig, message: TrialMessage, verdict: Verdict) -> None:
        """Count a report; a trial that goes on after a rung is not new."""
        self.num_reports += 1
        self.trials.setdefault(config.trial_id, (time.perf_counter(), self.num_reports))

    def rates(self, first: int, last: int) -> str:
        """Trials and reports a second from one trial to another."""
        marks = list(self.trials.values())
        (began, before), (ended, after) = marks[first], marks[last]
        seconds = ended - began
        trials, reports = (last - first) / seconds, (after - before) / seconds
        return f"{trials:6.1f} trials/s, {reports:6.1f} reports/s"


def trivial_trial(config: TrialConfig, reporter: Reporter) -> None:
    """Report costs, all epochs and the end, as far as the verdicts let it."""
    width = float(config.params["decoder_width"])
    accuracy = float(config.params["alpha"]) * (1 - 1 / width)
    costs = (Measurement(metric="latency_ms", value=width / 10),)
    reporter.report(config, TrialMessage(kind="costs", seconds=0.0, measurements=costs))
    for epoch in range(1, EPOCHS + 1):
        metrics = {"miou": accuracy * epoch / EPOCHS}
        reporter.report(
            config, TrialMessage(kind="epoch", seconds=0.0, epoch=epoch, metrics=metrics)
        )
    reporter.report(config, TrialMessage(kind="end", seconds=0.0, status=TrialStatus.COMPLETED))


def memory_mb() -> float:
    """What this process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def run_on_ray(trials: int, sampler: str) -> None:
    from automl.distributed import connection

    with connection.connected(), tempfile.TemporaryDirectory() as folder:
        from automl.distributed.fleet import FixedFleet
        from automl.distributed.tune_run import TuneSettings, run_on_tune

        watch = Timeline()
        with Journal(Path(folder) / "journal.jsonl") as log:
            plan = plan_of(experiment_of(trials, sampler))
            conductor = Conductor(plan, log, observer=watch, clock=time.monotonic)
            concurrent = available_cpus()
            settings = TuneSettings(
                resources={"CPU": 1.0},
                fleet=FixedFleet(concurrent),
                max_failures=1,
                storage=Path(folder) / "ray",
            )
            started, before_mb = time.perf_counter(), memory_mb()
            run_on_tune(conductor, trivial_trial, settings)
            seconds = time.perf_counter() - started
            assert len(conductor.results()) == trials
    print(f"{trials} trials on Ray, {concurrent} at a time: {seconds:.1f} s")
    print(f"to the first report:  {next(iter(watch.trials.values()))[0] - started:6.2f} s")
    print(f"the first 100 trials: {watch.rates(0, 99)}")
    print(f"the last 100 trials:  {watch.rates(trials - 100, trials - 1)}")
    print(f"the driver's memory: {before_mb:.0f} MB before, {memory_mb():.0f} MB after")


def experiment_of(trials: int, sampler: str) -> Experiment:
    return Experiment.from_json(
        {
            "space": {
                "decoder_width": {"int": [16, 512], "step": 8, "default": 64},
                "alpha": {"float": [0.0, 1.0], "default": 0.5},
                "gamma": {"float": [0.0, 5.0], "default": 2.0},
            },
            "search": {"trials": trials, "sampler": sampler},
            "train": {"epochs": EPOCHS},
        }
    )


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


def parsed_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--ray", type=int, help="so many trials on Ray Tune instead")
    parser.add_argument("--simulate", action="store_true", help="workers of a simulated clock")
    parser.add_argument("--journal", type=Path, default=JOURNAL, help="trials to replay")
    parser.add_argument("--replayed", type=int, default=1000, help="trials of the simulation")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--seeds", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    options = parsed_options()
    if options.simulate:
        from scale_simulation import run_simulation

        run_simulation(
            options.journal,
            trials=options.replayed,
            workers=options.workers,
            lives_s=[None, 1800.0],
            seeds=options.seeds,
        )
    elif options.ray is not None:
        run_on_ray(options.ray, options.sampler)
    else:
        run_one_by_one(options)


def run_one_by_one(options: argparse.Namespace) -> None:
    experiment = experiment_of(options.trials, options.sampler)
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
