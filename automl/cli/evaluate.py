"""`automl evaluate`: a bundle scored on a dataset. Loads neither torch nor ray."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli import view_options
from automl.cli.places import here, written_here
from automl.cli.view_options import Overlap, TtaFlip, TtaScales, Window

if TYPE_CHECKING:
    from automl.evaluation.evaluate import Evaluation


def evaluate(
    bundle: Annotated[
        Path, typer.Argument(help="The folder of a bundle, or a packed one.", callback=here)
    ],
    data: Annotated[
        str, typer.Option(help="A dataset's folder, an imported one, or builtin:surface-defects.")
    ],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    metrics: Annotated[
        str,
        typer.Option(help="Of iou, dice, boundary_f1, hausdorff_95, panoptic_components."),
    ] = "iou,dice",
    tolerance: Annotated[
        str, typer.Option(help="Of boundary_f1: pixels, or a share of the diagonal: 2, 0.75%.")
    ] = "0.75%",
    tta_scales: TtaScales = None,
    tta_flip: TtaFlip = False,
    window: Window = None,
    overlap: Overlap = 0.25,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder for numbers, pictures and a gallery.", callback=written_here),
    ] = None,
    worst: Annotated[int, typer.Option(min=1, help="Images in the gallery.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Score a bundle on a dataset, at the images' own sizes.

    Intervals hold 95 % of 2000 bootstrap resamples of the images. OUT gets evaluation.json,
    images.parquet (a row an image), confusion.png and gallery/index.html (the worst images).

    Try it: automl evaluate results/quickstart/bundles/best --data builtin:surface-defects

    Next: automl compare A B --data DIR
    """
    from automl.cli import evaluation_options as options
    from automl.evaluation.evaluate import EvaluationRequest
    from automl.evaluation.evaluate import evaluate as score
    from automl.evaluation.report import evaluation_lines

    request = EvaluationRequest(
        bundle=bundle,
        data=data,
        split=options.split(split),
        metrics=options.metrics(metrics),
        plan=view_options.plan(window=window, overlap=overlap, scales=tta_scales, flip=tta_flip),
        tolerance=options.tolerance(tolerance),
        seed=seed,
        threads=threads,
    )
    options.check_out(out, bundle)
    with options.counting("scoring images") as hear:
        done = score(request, hear)
    for line in evaluation_lines(done):
        typer.echo(line)
    if out is not None:
        _write(done, out, worst)


def _write(done: Evaluation, out: Path, worst: int) -> None:
    from automl.evaluation.confusion_picture import draw_confusion
    from automl.evaluation.gallery import gallery_page
    from automl.evaluation.writing import evaluation_document, write_images
    from automl.store.atomic import write_json, write_text

    page = gallery_page(done.pictures, done.predict, done.scores, done.manifest, worst)
    (out / "gallery").mkdir(parents=True, exist_ok=True)
    write_text(out / "gallery" / "index.html", page)
    draw_confusion(done.scores.confusion_kk, done.manifest.classes, out / "confusion.png")
    write_images(done.scores, done.manifest.classes, out / "images.parquet")
    write_json(out / "evaluation.json", evaluation_document(done))
    typer.echo(f"written: {out}/evaluation.json, images.parquet, confusion.png, gallery/index.html")
