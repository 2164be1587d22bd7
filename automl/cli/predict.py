"""`automl predict`: a bundle on images and videos. Loads neither torch nor ray."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automl.cli.places import here, written_here


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
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Segment images with a bundle, each at its own size.

    A mask is a PNG of class indices with a palette, so that it can be looked at as well. An image
    that cannot be read is told, the others go on, and the exit code is 1.

    Try it: automl predict results/quickstart/bundles/best photo.jpg --out mask.png

    Many: automl predict BUNDLE photos 'more/*.jpg' film.mp4 --out masks --overlay pictures

    Next: automl bundle verify BUNDLE tells whether the bundle is what was measured.
    """
    if len(inputs) == 1 and _is_single(inputs[0], out):
        _predict_one(bundle, Path(inputs[0]), out, overlay, threads)
        return
    from automl.bundle.inputs import find_inputs
    from automl.bundle.loading import Bundle
    from automl.bundle.predict_many import Destination, predict_all

    destination = Destination(masks=out, overlays=overlay, every=every)
    found = find_inputs(inputs, recursive=recursive)
    opened = Bundle.load(bundle, threads=threads)
    summary = predict_all(opened, found, destination, tell=lambda text: typer.echo(text, err=True))
    for line in summary.lines(out):
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


def _predict_one(bundle: Path, image: Path, out: Path, overlay: Path | None, threads: int) -> None:
    from automl.bundle.predict import predict_file

    result = predict_file(bundle, image, out, overlay=overlay, threads=threads)
    typer.echo(f"{out}: {result.width} x {result.height} pixels, in {result.milliseconds:.1f} ms")
    for name, share in result.shares:
        typer.echo(f"  {name:<20} {share:7.2%}")
