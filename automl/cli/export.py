"""`automl export`: a network in the formats of other runtimes, each checked against its source."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli.places import here, written_here

if TYPE_CHECKING:
    from automl.stages.convert import Outcome
    from automl.stages.format_source import FormatSource

_REFUSED = 1
_HERE = {"refused": "refused", "not available": "not available here"}
_HEAD = f"{'format':<13}{'batch':>5}{'MB':>9}{'max error':>11}{'equal':>10}{'time':>8}  file"


def export(
    source: Annotated[
        Path,
        typer.Argument(
            help="A bundle, STUDY/TRIAL, a checkpoint's folder, or a weights folder.", callback=here
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            help="openvino, pt2, torchscript, tflite, pte, tensorrt, separated by commas; or all."
        ),
    ],
    out: Annotated[Path, typer.Option(help="A new folder for the files.", callback=written_here)],
    data: Annotated[
        str | None,
        typer.Option(
            help="A dataset's folder: val images to compare on. Else a bundle's golden samples, "
            "or the data of the training."
        ),
    ] = None,
    rounds: Annotated[
        int,
        typer.Option(
            min=0, max=100_000, help="Timed calls of each file and of ONNX Runtime; 0 is none."
        ),
    ] = 20,
) -> None:
    """Write a network for other runtimes; what does not compute the same is removed, exit code 1.

    The files take normalised pixels, float32 (N, 3, h, w), and give logits (N, K, h, w); the
    model.json beside each says how to normalise. A bundle in ONNX needs no such step: use it as it
    is wherever ONNX Runtime runs.

    Try it: automl export BUNDLE --to openvino,pt2 --out exported
    """
    from automl.errors import UsageError
    from automl.formats.registry import ALL, wanted_formats
    from automl.stages.convert import RESULTS, absences, check_new, convert
    from automl.stages.format_source import find_format_source

    names = wanted_formats(to)
    check_new(out)
    with tempfile.TemporaryDirectory() as scratch:
        found = find_format_source(source, data, Path(scratch))
        missing = absences(found, names)
        if missing and to.strip() != ALL:
            raise UsageError(
                "\n".join(
                    f"--to {name}: not available here: {why}" for name, why in missing.items()
                )
            )
        for line in _head_lines(found):
            typer.echo(line)
        outcomes = convert(
            found, names, out, rounds=rounds, hear=lambda outcome: typer.echo(_row(outcome))
        )
    typer.echo(f"\nall numbers: {out / RESULTS}")
    if any(outcome.status == "refused" for outcome in outcomes):
        raise typer.Exit(_REFUSED)


def _head_lines(source: FormatSource) -> list[str]:
    from automl.formats.parity import TOLERANCES

    allowed = TOLERANCES[source.network.precision]
    count = len(source.images_nhwc)
    return [
        f"source     {source.origin.source} ({source.network.precision})",
        f"compared   on {count} {source.images_from}, and their mirror images",
        (
            f"allowed    logits {allowed.relative_error:g} of the largest apart, in the mean "
            f"{allowed.mean_error:g}; {allowed.equal_pixels:.1%} of the pixels equal"
        ),
        "time       processor time as a multiple of ONNX Runtime's, 1 thread, 1 image",
        "",
        _HEAD,
    ]


def _row(outcome: Outcome) -> str:
    if outcome.status != "written":
        return f"{outcome.format:<13}{_HERE[outcome.status]}: {outcome.reason}"
    max_error = max(each.max_error for each in outcome.agreements)
    equal = min(each.equal_pixels for each in outcome.agreements)
    ratio = "-" if outcome.time_ratio is None else f"{outcome.time_ratio:.2f}x"
    note = f"  ({outcome.reason})" if outcome.reason else ""
    return (
        f"{outcome.format:<13}{outcome.batch!s:>5}{outcome.size_mb:>9.2f}{max_error:>11.1e}"
        f"{equal:>10.3%}{ratio:>8}  {outcome.file}{note}"
    )
