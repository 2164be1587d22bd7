"""A comparison in lines for people, and as plain JSON values."""

from __future__ import annotations

from typing import Any

from automl.evaluation.compare import Comparison, Difference
from automl.measurement.repeats import CONFIDENCE
from automl.measurement.resampling import RESAMPLES

_ALPHA = 1 - CONFIDENCE


def comparison_lines(done: Comparison) -> list[str]:
    """All that is printed of the scores of a comparison."""
    first, second = done.manifests
    width = max(len("all classes"), *(len(name) for name in first.classes))
    rows = [("all classes", done.mean), *zip(first.classes, done.classes, strict=True)]
    pictures = f"{len(done.pictures)} images of {done.pictures.split} at their own sizes"
    test = f"paired permutation test, two-sided, {RESAMPLES} relabellings, seed {done.seed}"
    return [
        f"A          {first.name} ({done.bundles[0]})",
        f"B          {second.name} ({done.bundles[1]})",
        f"data       {done.pictures.dataset}: {pictures}",
        f"masks by   {done.plan.text()}",
        "",
        f"{'IoU':<{width}}       A       B    B - A  95 % of it           p",
        *(_row(f"{name:<{width}}", difference) for name, difference in rows),
        f"p: {test}; of the classes by Holm's method",
        "",
        _verdict(done.mean),
    ]


def comparison_document(done: Comparison, latency_ratio: float | None) -> dict[str, Any]:
    """A comparison as plain JSON values; `latency_ratio` is B's time by A's, where it was timed."""
    return {
        "schema_version": 1,
        "bundles": [
            {"name": manifest.name, "path": str(path)}
            for manifest, path in zip(done.manifests, done.bundles, strict=True)
        ],
        "data": {
            "name": done.pictures.dataset,
            "source": done.pictures.source,
            "split": done.pictures.split,
            "images": len(done.pictures),
        },
        "metric": "iou",
        "test": {"name": "paired permutation", "resamples": RESAMPLES, "seed": done.seed},
        "mean": _plain(done.mean),
        "classes": {
            name: _plain(difference)
            for name, difference in zip(done.manifests[0].classes, done.classes, strict=True)
        },
        "latency_ratio": latency_ratio,
    }


def _row(start: str, difference: Difference) -> str:
    gain, interval, p = difference.gain, difference.interval, difference.p
    cells = [
        _number(difference.first, ".4f", 6),
        _number(difference.second, ".4f", 6),
        _number(gain, "+.4f", 7),
        f"{'-' if interval is None else f'[{interval[0]:+.4f}, {interval[1]:+.4f}]':<18}",
        _number(p, ".4f", 6),
    ]
    return "  ".join([start, *cells])


def _number(value: float | None, form: str, width: int) -> str:
    return f"{'-' if value is None else format(value, form):>{width}}"


def _verdict(mean: Difference) -> str:
    if mean.gain is None or mean.p is None:
        return "nothing to tell: one of the two has no score"
    better = "B" if mean.gain > 0 else "A"
    if mean.p >= _ALPHA:
        return f"the difference may be chance (p {mean.p:.4f}, not below {_ALPHA:.2f})"
    return f"{better} is better by {abs(mean.gain):.4f} mIoU, hardly by chance (p {mean.p:.4f})"


def _plain(difference: Difference) -> dict[str, Any]:
    return {
        "first": difference.first,
        "second": difference.second,
        "gain": difference.gain,
        "interval": difference.interval,
        "p": difference.p,
    }
