"""What a bundle says of itself, in lines for people. Needs no torch."""

from __future__ import annotations

from automl.bundle.card import interval_text, intervals_note
from automl.bundle.manifest import Manifest
from automl.bundle.runtimes import TITLES
from automl.records import Split

_MEAN = "all classes"


def inspection_lines(manifest: Manifest) -> list[str]:
    """Input, classes, scores with their intervals, cost and origin."""
    lineage, (height, width) = manifest.lineage, manifest.input.size
    teacher = "" if lineage.teacher is None else f", taught by {lineage.teacher}"
    made = f"schema_version {manifest.schema_version}, made {manifest.created:%Y-%m-%d}"
    data = f"{manifest.dataset_name} (fingerprint {manifest.dataset_fingerprint[:16]})"
    return [
        f"bundle     {manifest.name} ({manifest.precision}), {made}",
        f"input      {height} x {width} (height x width) inside, images {_fitting(manifest)}",
        f"cost       {_cost(manifest)}",
        f"scores     in {TITLES.get(manifest.metrics_runtime, manifest.metrics_runtime)}",
        f"origin     {lineage.kind} {lineage.trial_id}{teacher}, on {data}",
        "",
        *_score_lines(manifest),
    ]


def _fitting(manifest: Manifest) -> str:
    resize = manifest.input.resize
    return f"letterboxed on {resize.padding}" if resize.is_letterbox else "stretched"


def _cost(manifest: Manifest) -> str:
    latency = manifest.latency
    return (
        f"{manifest.size_mb:.2f} MB, {manifest.params_m:.3f} M parameters; {latency.p50_ms:.2f} ms "
        f"an image in {latency.runtime} on {latency.device}, {latency.threads} thread(s)"
    )


def _score_lines(manifest: Manifest) -> list[str]:
    """IoU by class (rows) and split (columns)."""
    splits = list(manifest.metrics)
    names = [f"iou.{name}" for name in manifest.classes]
    rows = [("class", *(f"IoU on {split}" for split in splits))]
    for label, metric in [*zip(manifest.classes, names, strict=True), (_MEAN, "miou")]:
        rows.append((label, *(_cell(manifest, split, metric) for split in splits)))
    widths = [max(len(row[place]) for row in rows) for place in range(len(splits) + 1)]
    table = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    note = intervals_note(manifest)
    return table if note is None else [*table, "", note]


def _cell(manifest: Manifest, split: Split, metric: str) -> str:
    value = manifest.metrics[split].get(metric)
    return (
        "-" if value is None else f"{value:.4f} {interval_text(manifest, split, metric)}".rstrip()
    )
