"""The names of all that this program writes into a study's folder (see `layout`)."""

from __future__ import annotations

#: Everything that this program writes into a study's folder, in the order in which `clear` removes
#: it: the journal first, so that a clearing that is cut short leaves a study without results, and
#: `experiment.json` last, so that what is left is still known as a study.
OWNED = (
    "journal.jsonl",
    "optuna.log",
    "tensorboard",
    "mlflow",
    "report.md",
    "front.png",
    "candidates.parquet",
    "trials.parquet",
    "dataset.json",
    "environment.json",
    "bundles",
    "weights",
    "continual.json",
    "finalists",
    "teaching",
    "candidates",
    "trials",
    "costs",
    "reference",
    "screening.json",
    "proxies",
    "ray",
    "beginning",
    "experiment.json",
)
