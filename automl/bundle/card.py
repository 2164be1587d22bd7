"""The model card of a bundle, for people. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from automl.bundle.layout import MODEL
from automl.bundle.manifest import Manifest
from automl.bundle.runtimes import TITLES
from automl.records import Split
from automl.store.markdown import markdown_table


def model_card(manifest: Manifest) -> str:
    """The card as Markdown; all that it says is in the manifest too."""
    sections = [
        f"# {manifest.name}",
        _summary(manifest),
        "## Use",
        _usage(manifest),
        "## Classes",
        _classes(manifest),
        "## Quality",
        _quality(manifest),
        "## Cost",
        _cost(manifest),
        "## Origin",
        _origin(manifest),
        "## Limits",
        _limits(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def _summary(manifest: Manifest) -> str:
    height, width = manifest.input.size
    runtime = _title(manifest.metrics_runtime)
    return (
        f"Segments an RGB image into {len(manifest.classes)} classes "
        f"({', '.join(manifest.classes)}). {manifest.precision.upper()} network for {runtime} "
        f"that works at {width} x {height} pixels (width x height) inside; {_fitting(manifest)}."
    )


def _fitting(manifest: Manifest) -> str:
    resize = manifest.input.resize
    if not resize.is_letterbox:
        return "images are stretched to that"
    assert resize.padding is not None
    colour = "#{:02x}{:02x}{:02x}".format(*resize.padding)
    return f"images are letterboxed to that: their ratio of sides is kept, the rest is {colour}"


def _usage(manifest: Manifest) -> str:
    runtime = manifest.metrics_runtime
    return _usage_of_file(manifest) + ("" if runtime == "onnxruntime" else f"\n\n{_in_openvino()}")


def _in_openvino() -> str:
    return (
        "Its scores and its latency are those in OpenVINO (`pip install 'automl[openvino]'`), "
        f"which cannot read the resizes within `{MODEL}`. What it was measured as, the same "
        "network for an image of its own size, is written by\n\n"
        "```\nautoml bundle batch . --size 1 --out one.onnx\n```\n\n"
        f"`{MODEL}` itself, and all commands that take a bundle, run in ONNX Runtime, where it may "
        "be slower and INT8 rounds at other places."
    )


def _title(runtime: str) -> str:
    return TITLES.get(runtime, runtime)


def _usage_of_file(manifest: Manifest) -> str:
    return (
        "```\nautoml bundle verify .\nautoml predict . photo.jpg --out mask.png\n```\n\n"
        f"`{MODEL}` takes `image`, uint8 RGB (height, width, 3) of any size, and gives `mask`, "
        "uint8 class labels (height, width) at that size. Resizing, normalising and the choice of "
        f"the class happen inside; {manifest.ignore_value} is never predicted."
    )


def _classes(manifest: Manifest) -> str:
    named = zip(manifest.classes, manifest.colours, strict=True)
    rows = [
        (str(label), name, "#{:02x}{:02x}{:02x}".format(*colour))
        for label, (name, colour) in enumerate(named)
    ]
    return _table([("label", "class", "colour"), *rows])


def _quality(manifest: Manifest) -> str:
    rows = [
        (split, name, f"{value:.4f}", interval_text(manifest, split, name))
        for split, values in manifest.metrics.items()
        for name, value in values.items()
    ]
    note = intervals_note(manifest)
    if note is None:
        measured = _table([("split", "metric", "value"), *(row[:3] for row in rows)])
    else:
        table = _table([("split", "metric", "value", "95 % interval"), *rows])
        measured = f"{table}\n\n{note}"
    height, width = manifest.input.size
    place = (
        f"Of this file, run in {_title(manifest.metrics_runtime)}, on `{manifest.dataset_name}`, "
        f"on images and masks {_resized(manifest)} to {width} x {height} pixels (width x height). "
        f"At a photo's own size, to which `mask` is enlarged, it may differ.\n\n{measured}"
    )
    return f"{place}\n\n{_further_seeds(manifest)}" if manifest.further_seeds else place


def interval_text(manifest: Manifest, split: Split, metric: str) -> str:
    """The interval of a score; nothing where it has none."""
    found = manifest.intervals.get(split)
    if found is None or metric not in found.bounds:
        return ""
    low, high = found.bounds[metric]
    return f"[{low:.4f}, {high:.4f}]"


def intervals_note(manifest: Manifest) -> str | None:
    """What the intervals are, and what they are not; None where there are none."""
    if not manifest.intervals:
        return None
    first = next(iter(manifest.intervals.values()))
    images = ", ".join(f"{found.images} of {split}" for split, found in manifest.intervals.items())
    return (
        f"Intervals: the middle 95 % of {first.resamples} bootstrap resamples of the images "
        f"({images}; seed {first.seed}). They tell how much other images of this kind would change "
        "a score of this file, not how much another training would."
    )


def _resized(manifest: Manifest) -> str:
    return "letterboxed" if manifest.input.resize.is_letterbox else "resized"


def _further_seeds(manifest: Manifest) -> str:
    rows = [
        (
            split,
            seeds.metric,
            f"{seeds.mean:.4f}"
            + ("" if seeds.half_width is None else f" ± {seeds.half_width:.4f}"),
            str(seeds.count),
        )
        for split, seeds in manifest.further_seeds.items()
    ]
    text = "The same recipe repeated with further seeds, this file not among them:"
    return f"{text}\n\n{_table([('split', 'metric', 'mean, 95 % interval', 'seeds'), *rows])}"


def _cost(manifest: Manifest) -> str:
    latency = manifest.latency
    rows = [
        ("what", "value"),
        ("latency, median", f"{latency.p50_ms:.2f} ms"),
        ("latency, 95th percentile", f"{latency.p95_ms:.2f} ms"),
        ("file", f"{manifest.size_mb:.2f} MB"),
        ("parameters", f"{manifest.params_m:.3f} million"),
        ("multiply-accumulates", f"{manifest.macs_g:.3f} x 10^9"),
    ]
    if latency.ratio_to_default is not None:
        # The processor time of several threads adds up: what their user waits for is wall time.
        time = "processor time" if latency.threads == 1 else "wall time"
        ratio = f"{latency.ratio_to_default:.2f} x"
        rows.insert(3, (f"{time} against the default model", ratio))
    threads = f"{latency.threads} thread{'s' if latency.threads > 1 else ''}"
    place = f"{latency.runtime} on {latency.device}, {threads}, batch {latency.batch}"
    return f"Latency: {place}, an image of the network's own size.\n\n{_table(rows)}"


def _origin(manifest: Manifest) -> str:
    lineage = manifest.lineage
    rows = [
        ("what", "value"),
        ("made", manifest.created.isoformat()),
        ("trial", lineage.trial_id),
        ("kind", lineage.kind),
        *([("teacher", lineage.teacher)] if lineage.teacher is not None else []),
        *_entries("recipe", lineage.recipe),
        *_entries("sampled", manifest.params),
        ("dataset", f"{manifest.dataset_name}, fingerprint {manifest.dataset_fingerprint}"),
        *_entries("seed", manifest.seeds),
        *_entries("package", manifest.packages),
    ]
    return _table(rows)


def _limits(manifest: Manifest) -> str:
    scored = " and ".join(manifest.metrics)
    return "\n".join(
        [
            f"- Quality was measured on {scored}, on images of the source that it was trained on.",
            "- Expect less on other cameras, places or lighting.",
            "- Details smaller than a pixel at the network's size are lost.",
            "- Latency holds for the machine that it was measured on: measure on yours.",
            "- Every pixel gets one of the classes, also where none of them fits.",
        ]
    )


def _entries(label: str, values: Mapping[str, object]) -> list[tuple[str, str]]:
    return [(f"{label} `{name}`", str(value)) for name, value in values.items()]


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(markdown_table(rows))
