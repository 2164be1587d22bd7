"""The names of all that this program writes into a study's folder (see `layout`), to clear it."""

from __future__ import annotations

import shutil
from pathlib import Path

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
    "gpu_share.json",
    "proxies",
    "ray",
    "beginning",
    "experiment.json",
)


def remove_owned(path: Path) -> None:
    """Remove a file or a folder with all that is in it; a link alone, and nothing if it is gone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
