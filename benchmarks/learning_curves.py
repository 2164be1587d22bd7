"""Train every configuration of a small grid, and keep what each epoch and each network cost.

    python benchmarks/learning_curves.py [--out benchmarks/tables/surface-defects.parquet]

`search_efficiency.py` replays the table, so that engines can be compared over many seeds without
training. Each row is one epoch of one configuration, trained as any trial of a search is, from
scratch on one thread, with its number as its seed. A run that is cut goes on where it stopped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from automl.data.importing import cached_dataset
from automl.jobs.context import JobContext
from automl.jobs.costs import measure_costs, prepare_reference
from automl.jobs.trial import run_trial
from automl.records import Scalar, TrialConfig, TrialMessage, TrialStatus, Verdict
from automl.space.experiment import Experiment

EPOCHS = 12
TABLE = Path("benchmarks/tables/surface-defects.parquet")
#: The grid; the first value of each is the default.
GRID: dict[str, tuple[Scalar, ...]] = {
    "encoder": ("mobilenetv3_small_100", "mobilenetv3_small_050", "mobilenetv4_conv_small"),
    "decoder_width": (32, 16, 64),
    "learning_rate": (4e-3, 1.5e-3, 1e-2),
    "pruning_ratio": (0.0, 0.3),
    "alpha": (0.5, 0.2, 0.8),
}
#: The same in every configuration.
FIXED: dict[str, Scalar] = {
    "decoder": "fpn_lite",
    "class_weights": "balanced",
    "gamma": 1.0,
    "batch_size": 4,
}
COSTS = ("latency_ms", "params_m", "macs_g", "size_mb")


@dataclass
class Curve:
    """Collects what one trial reports, and lets it train to the end."""

    costs: dict[str, float] = field(default_factory=dict)
    mious: list[float] = field(default_factory=list)

    def report(self, config: TrialConfig, message: TrialMessage) -> Verdict:
        """Keep the costs and the mIoU on val of each epoch."""
        if message.kind == "costs":
            self.costs = {m.metric: m.value for m in message.measurements}
        elif message.kind == "epoch":
            self.mious.append(message.metrics["miou"])
        elif message.status is not TrialStatus.COMPLETED:
            raise RuntimeError(f"{config.params}: {message.status}: {message.reason}")
        return Verdict.CONTINUE


def experiment(size: tuple[int, int]) -> Experiment:
    """The grid as a space, with defaults for all else."""
    space = {name: {"choice": list(values)} for name, values in GRID.items()}
    return Experiment.from_json(
        {
            "data": {"size": list(size)},
            "space": {**space, **FIXED},
            "train": {"epochs": EPOCHS, "device": "cpu"},
        }
    )


def configurations(declared: Experiment) -> list[TrialConfig]:
    """One trial for each combination, the default first."""
    default = declared.space.default()
    return [
        TrialConfig(
            number=number, seed=number, params={**default, **dict(zip(GRID, values, strict=True))}
        )
        for number, values in enumerate(itertools.product(*GRID.values()))
    ]


def train_all(
    context: JobContext, configs: list[TrialConfig], log: Path
) -> list[dict[str, object]]:
    """One row for each epoch of each configuration; what `log` has is not trained again."""
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    prepare_reference(context)
    for config in configs:
        measure_costs(config, context)  # all networks first, side by side
    for config in configs[len(done) :]:
        curve = Curve()
        run_trial(config, context, curve)
        row = {"params": {n: config.params[n] for n in GRID}, **curve.costs, "mious": curve.mious}
        done.append(row)
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{len(done)}/{len(configs)} {row['params']} {curve.mious[-1]:.4f}", flush=True)
    return [
        {"number": number, **row["params"], **{c: row[c] for c in COSTS}, "epoch": e, "miou": miou}
        for number, row in enumerate(done)
        for e, miou in enumerate(row["mious"], start=1)
    ]


def main() -> None:
    """Train the grid and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="builtin:surface-defects")
    parser.add_argument("--size", type=int, nargs=2, default=(64, 64), metavar=("H", "W"))
    parser.add_argument("--out", type=Path, default=TABLE)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "curves")
    arguments = parser.parse_args()
    size = (arguments.size[0], arguments.size[1])
    declared = experiment(size)
    dataset = cached_dataset(arguments.data, size=size, cache=arguments.work / "datasets")
    context = JobContext(
        experiment=declared,
        study_root=arguments.work / "study",
        dataset_root=dataset.root,
        threads=1,
    )
    arguments.work.mkdir(parents=True, exist_ok=True)
    rows = train_all(context, configurations(declared), arguments.work / "curves.jsonl")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, arguments.out, compression="zstd")
    print(f"{arguments.out}: {len(rows)} rows, {arguments.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
