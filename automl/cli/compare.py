"""`automl compare`: two bundles side by side. Loads neither torch nor ray."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli import view_options
from automl.cli.places import here, written_here
from automl.cli.target_options import Runtime
from automl.cli.view_options import Overlap, TtaFlip, TtaScales, Window

if TYPE_CHECKING:
    from automl.benchmark.plan import Grid


def compare(
    first: Annotated[
        Path,
        typer.Argument(help="The folder of a bundle, or a packed one.", metavar="A", callback=here),
    ],
    second: Annotated[
        Path, typer.Argument(help="Another, in either form.", metavar="B", callback=here)
    ],
    data: Annotated[
        str, typer.Option(help="A dataset's folder, an imported one, or builtin:surface-defects.")
    ],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    tta_scales: TtaScales = None,
    tta_flip: TtaFlip = False,
    window: Window = None,
    overlap: Overlap = 0.25,
    rounds: Annotated[
        int, typer.Option(min=0, help="Timed calls of each bundle; 0: no timing.")
    ] = 50,
    out: Annotated[
        Path | None,
        typer.Option(help="Also write all numbers to this JSON file.", callback=written_here),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    runtime: Runtime = "onnxruntime",
) -> None:
    """Tell whether one bundle is better than another, or whether that may be chance.

    Both label the same images at their own sizes. A paired permutation test tells how often a
    difference as large comes from relabelling the images at random. Latencies are those of the
    bundles' own files, timed in turn as automl benchmark does.

    Try it: automl compare results/quickstart/bundles/best results/quickstart/bundles/smallest
    --data builtin:surface-defects
    """
    from automl.benchmark.plan import Grid
    from automl.bundle.runtimes import check_runtime
    from automl.cli import evaluation_options as options
    from automl.errors import UsageError
    from automl.evaluation.compare import ComparisonRequest
    from automl.evaluation.compare import compare as score
    from automl.evaluation.comparison_report import comparison_document, comparison_lines
    from automl.store.atomic import write_json

    if rounds:
        check_runtime(runtime)
    if out is not None and out.suffix.lower() != ".json":
        raise UsageError(f"--out: the name must end in .json, got {out}")
    request = ComparisonRequest(
        bundles=(first, second),
        data=data,
        split=options.split(split),
        plan=view_options.plan(window=window, overlap=overlap, scales=tta_scales, flip=tta_flip),
        seed=seed,
        threads=threads,
    )
    with options.counting("scoring images") as hear:
        done = score(request, hear)
    for line in comparison_lines(done):
        typer.echo(line)
    ratio = None
    if rounds:
        grid = Grid(runtimes=(runtime,), threads=(threads,), batches=(1,), rounds=rounds)
        ratio = _latency_ratio(first, second, grid)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, comparison_document(done, ratio))
        typer.echo(f"written: {out}")


def _latency_ratio(first: Path, second: Path, grid: Grid) -> float:
    """Time both and tell; the second's processor time by the first's."""
    from automl.benchmark.plan import benchmark, load_subjects
    from automl.benchmark.worker import measure_apart

    report = benchmark(
        load_subjects([first, second]),
        grid,
        lambda job, artifacts: measure_apart(job, artifacts, seconds=float("inf")),
        say=lambda _: None,
    )
    mine, theirs = report.rows
    typer.echo(
        f"latency    A {mine.timing.stats.cpu_p50_ms:.2f} ms, B "
        f"{theirs.timing.stats.cpu_p50_ms:.2f} ms of CPU time at the network's size, "
        f"in {grid.runtimes[0]} with {grid.threads[0]} thread(s): "
        f"B takes {theirs.cpu_ratio:.2f} x as long"
    )
    for note in report.notes:
        typer.echo(f"note: {note}")
    return theirs.cpu_ratio
