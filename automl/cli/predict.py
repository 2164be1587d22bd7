"""`automl predict`: a bundle on images and videos. Loads neither torch nor ray."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli import view_options
from automl.cli.places import here, written_here
from automl.cli.view_options import Overlap, TtaFlip, TtaScales, Window

if TYPE_CHECKING:
    from automl.bundle.inference import InferencePlan, Manner


def predict(
    bundle: Annotated[
        Path, typer.Argument(help="The folder of a bundle, or a packed one.", callback=here)
    ],
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="Images, videos, folders, patterns in quotes."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="The mask to write (PNG, class indices); of several a folder.",
            callback=written_here,
        ),
    ],
    overlay: Annotated[
        Path | None,
        typer.Option(
            help="Also write the image with the mask laid over it; of several a folder.",
            callback=written_here,
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Look in the folders below as well.")
    ] = False,
    every: Annotated[int, typer.Option(min=1, help="Of a video take each N-th frame.")] = 1,
    tta_scales: TtaScales = None,
    tta_flip: TtaFlip = False,
    window: Window = None,
    overlap: Overlap = 0.25,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Segment images with a bundle, each at its own size.

    A mask is a PNG of class indices with a palette, so that it can be looked at as well. An image
    that cannot be read is told, the others go on, and the exit code is 1.

    Try it: automl predict results/quickstart/bundles/best photo.jpg --out mask.png

    Many: automl predict BUNDLE photos 'more/*.jpg' film.mp4 --out masks --overlay pictures

    Large images: automl predict BUNDLE photos --out masks --window 512x512

    --window, --overlap, --tta-scales and --tta-flip mean what they mean for automl evaluate, and
    need the package onnx.

    Next: automl bundle verify BUNDLE tells whether the bundle is what was measured.
    """
    from automl.bundle.inference import Manner, predictor

    plan = view_options.plan(window=window, overlap=overlap, scales=tta_scales, flip=tta_flip)
    manner = Manner(plan=plan, threads=threads)
    if len(inputs) == 1 and _is_single(inputs[0], out):
        _predict_one(bundle, Path(inputs[0]), out, overlay, manner)
        return
    from automl.bundle.inputs import find_inputs
    from automl.bundle.loading import Bundle
    from automl.bundle.predict_many import Destination, predict_all

    destination = Destination(masks=out, overlays=overlay, every=every)
    found = find_inputs(inputs, recursive=recursive)
    opened = Bundle.load(bundle, threads=threads)
    summary = predict_all(
        opened,
        found,
        destination,
        predict=predictor(opened, plan, threads=threads),
        tell=lambda text: typer.echo(text, err=True),
    )
    first, *others = summary.lines(out)
    for line in (first, *_plan_lines(plan), *others):
        typer.echo(line)
    if summary.failures:
        raise typer.Exit(1)


def _is_single(given: str, out: Path) -> bool:
    """Whether one image is meant, and one mask."""
    from automl.bundle.inputs import is_pattern
    from automl.data.video import VIDEO_SUFFIXES

    path = Path(given)
    is_image = not path.is_dir() and path.suffix.lower() not in VIDEO_SUFFIXES
    return is_image and not is_pattern(given) and out.suffix != "" and not out.is_dir()


def _predict_one(
    bundle: Path, image: Path, out: Path, overlay: Path | None, manner: Manner
) -> None:
    from automl.bundle.predict import predict_file

    result = predict_file(bundle, image, out, overlay=overlay, manner=manner)
    typer.echo(f"{out}: {result.width} x {result.height} pixels, in {result.milliseconds:.1f} ms")
    for line in _plan_lines(manner.plan):
        typer.echo(line)
    for name, share in result.shares:
        typer.echo(f"  {name:<20} {share:7.2%}")


def _plan_lines(plan: InferencePlan) -> list[str]:
    """What is averaged, where it is not the bundle's file alone."""
    return [] if plan.is_plain else [f"masks by {plan.text()}"]
