"""What more nodes give, and what Ray costs a trial: ratios side by side in one run.

    python benchmarks/scaling.py [--trials 4] [--epochs 2] [--rounds 2]

The same trials (one network, other seeds, one thread each) run in turn, a round after the other:

1. one after another in this process, as `--local` does;
2. on Ray, one node with a core, one trial at a time;
3. on Ray, one node with two cores, two trials at a time;
4. on Ray, two nodes with a core each, two trials at a time.

Two nodes are two Rays of this machine (`ray.cluster_utils.Cluster`), with its cores and its disk: a
network between them is not measured. Prints seconds by the clock and of the processor for a trial;
the throughput of 3 and 4 over that of 2; and what Ray adds to a trial. Where other programs want
the cores, the clock tells their work as well. The processor's time of a trial does not: if it stays
the same from 2 to 4, trials do not slow each other down, and `waited` is what was waited for.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scale import Silent

from automl.conductor.conductor import Conductor
from automl.data.importing import cached_dataset
from automl.distributed import connection
from automl.jobs.context import JobContext
from automl.jobs.costs import prepare_reference
from automl.jobs.trial import run_trial
from automl.records import TrialConfig
from automl.reporting import Reporter
from automl.space.experiment import Experiment
from automl.space.search_plan import plan_of
from automl.store.journal import Journal

SIZE = (64, 64)


@dataclass(frozen=True, kw_only=True)
class Took:
    """Seconds of one way to run all trials, and the processor's seconds of each trial."""

    wall_s: float
    trial_wall_s: tuple[float, ...]
    trial_cpu_s: tuple[float, ...]


def timed_trial(
    config: TrialConfig, reporter: Reporter, *, context: JobContext, notes: Path
) -> None:
    """Run a trial, and note its seconds, whatever process it is in."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    try:
        run_trial(config, context, reporter)
    finally:
        took = f"{time.perf_counter() - wall_s} {time.process_time() - cpu_s}"
        (notes / f"{config.number}-{os.getpid()}-{time.time_ns()}").write_text(took)


def experiment_of(trials: int, epochs: int) -> Experiment:
    return Experiment.from_json(
        {
            "data": {"source": "builtin:surface-defects", "size": list(SIZE)},
            "space": {
                "encoder": "mobilenetv3_small_050",
                "decoder": "fpn_lite",
                "decoder_width": 16,
                "alpha": {"float": [0.4, 0.6], "default": 0.5},
            },
            # Nobody is stopped: every way trains the same epochs.
            "search": {"trials": trials, "sampler": "random", "min_epochs": epochs},
            "train": {"epochs": epochs, "device": "cpu"},
            "target": {"rounds": 5},
        }
    )


def run_all(
    experiment: Experiment, dataset_root: Path, run: Callable[[Conductor, JobContext, Path], None]
) -> Took:
    """Run a study's trials in a folder of their own, and see how long that takes."""
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "journal.jsonl") as log:
        notes = Path(folder) / "notes"
        notes.mkdir()
        context = JobContext(
            experiment=experiment, study_root=Path(folder), dataset_root=dataset_root, threads=1
        )
        prepare_reference(context)
        conductor = Conductor(plan_of(experiment), log, observer=Silent(), clock=time.monotonic)
        started = time.perf_counter()
        run(conductor, context, notes)
        wall_s = time.perf_counter() - started
        found = [tuple(map(float, note.read_text().split())) for note in notes.iterdir()]
        results = conductor.results()
        assert len(found) == len(results) == experiment.search.trials, results
        assert all(result.epochs == experiment.train.epochs for result in results), results
    return Took(
        wall_s=wall_s,
        trial_wall_s=tuple(wall for wall, _ in found),
        trial_cpu_s=tuple(cpu for _, cpu in found),
    )


def in_this_process(conductor: Conductor, context: JobContext, notes: Path) -> None:
    from automl.conductor.here import run_here

    run_here(conductor, partial(timed_trial, context=context, notes=notes))


def on_ray(conductor: Conductor, context: JobContext, notes: Path, *, concurrent: int) -> None:
    from automl.distributed.fleet import FixedFleet
    from automl.distributed.tune_run import TuneSettings, run_on_tune

    settings = TuneSettings(
        resources={"CPU": 1.0},
        fleet=FixedFleet(concurrent),
        max_failures=0,
        storage=context.study_root / "ray",
    )
    run_on_tune(conductor, partial(timed_trial, context=context, notes=notes), settings)


@contextmanager
def cluster(nodes: int, cores: int) -> Iterator[None]:
    """So many Rays of this machine as one cluster, to which this process is connected."""
    connection.prepare_environment()
    import ray
    from ray.cluster_utils import Cluster

    # A dashboard would take a core's time, and a port that another cluster may have.
    head = {"num_cpus": cores, "include_dashboard": False}
    machines = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes - 1):
            machines.add_node(num_cpus=cores)
        ray.init(machines.address, log_to_driver=False, logging_level="ERROR")
        # Workers of the very first trials would start while they are timed.
        ray.get([ray.remote(_nothing).remote() for _ in range(nodes * cores)])
        yield
    finally:
        ray.shutdown()
        machines.shutdown()


def _nothing() -> int:
    return threading.active_count()


#: Name, nodes, cores of each, trials at a time.
WAYS: tuple[tuple[str, int, int, int], ...] = (
    ("Ray, 1 node, 1 trial", 1, 1, 1),
    ("Ray, 1 node, 2 trials", 1, 2, 2),
    ("Ray, 2 nodes, 2 trials", 2, 1, 2),
)
HERE = "this process"


def run_round(experiment: Experiment, dataset_root: Path) -> dict[str, Took]:
    took = {HERE: run_all(experiment, dataset_root, in_this_process)}
    for name, nodes, cores, concurrent in WAYS:
        print_progress(took)
        with cluster(nodes, cores):
            run = partial(on_ray, concurrent=concurrent)
            took[name] = run_all(experiment, dataset_root, run)
    print_progress(took)
    return took


def print_progress(took: dict[str, Took]) -> None:
    name, last = next(reversed(took.items()))
    cpu_s = ", ".join(f"{seconds:.1f}" for seconds in sorted(last.trial_cpu_s))
    load = os.getloadavg()[0]
    print(f"{name}: {last.wall_s:.1f} s; CPU s of trials: {cpu_s}; load {load:.1f}", flush=True)


def print_rounds(rounds: list[dict[str, Took]], trials: int) -> None:
    print(f"\n{'':<24}{'s a trial':>10}{'CPU s of it':>13}{'waited':>8}   throughput over 1 trial")
    for name in rounds[0]:
        walls = [took[name].wall_s / trials for took in rounds]
        # The first trial of each process imports what the later ones have.
        own = [statistics.median(took[name].trial_cpu_s) for took in rounds]
        clock = [statistics.median(took[name].trial_wall_s) for took in rounds]
        ratios = [took[WAYS[0][0]].wall_s / took[name].wall_s for took in rounds]
        waited = statistics.median(w / c - 1 for w, c in zip(clock, own, strict=True))
        print(
            f"{name:<24}{statistics.median(walls):>10.2f}{statistics.median(own):>13.2f}"
            f"{waited:>8.0%}   {spread_text(ratios)}"
        )
    first = WAYS[0][0]
    added = [(took[first].wall_s - sum(took[first].trial_wall_s)) / trials for took in rounds]
    local = [(took[HERE].wall_s - sum(took[HERE].trial_wall_s)) / trials for took in rounds]
    trial = [
        statistics.median(took[first].trial_cpu_s) / statistics.median(took[HERE].trial_cpu_s)
        for took in rounds
    ]
    print(f"\naround a trial on Ray, s:           {spread_text(added)} (its first processes too)")
    print(f"around a trial in this process, s:  {spread_text(local)}")
    print(f"a trial's CPU time, Ray / here:     {spread_text(trial)}")


def spread_text(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    experiment = experiment_of(options.trials, options.epochs)
    dataset = cached_dataset("builtin:surface-defects", size=SIZE, split_seed=0)
    print(
        f"{options.trials} trials of {options.epochs} epochs, {options.rounds} rounds; "
        f"{len(os.sched_getaffinity(0))} cores, load average {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    rounds = []
    for number in range(options.rounds):
        rounds.append(run_round(experiment, dataset.root))
        print(f"\nafter round {number + 1}, medians (lowest to highest):")
        print_rounds(rounds, options.trials)


if __name__ == "__main__":
    main()
