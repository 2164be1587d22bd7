"""`automl predict`: a bundle on an image. Loads neither torch nor ray."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def predict(
    bundle: Annotated[Path, typer.Argument(help="The folder of a bundle.")],
    image: Annotated[Path, typer.Argument(help="Any image that Pillow reads.")],
    out: Annotated[Path, typer.Option(help="Where to write the mask (PNG, class indices).")],
    overlay: Annotated[
        Path | None, typer.Option(help="Also write the image with the mask laid over it.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Segment one image with a bundle, at the image's own size.

    The mask is a PNG of class indices with a palette, so that it can be looked at as well.

    Try it: automl predict results/quickstart/bundles/best photo.jpg --out mask.png

    Next: automl bundle verify BUNDLE tells whether the bundle is what was measured.
    """
    from automl.bundle.predict import predict_file

    result = predict_file(bundle, image, out, overlay=overlay, threads=threads)
    typer.echo(f"{out}: {result.width} x {result.height} pixels, in {result.milliseconds:.1f} ms")
    for name, share in result.shares:
        typer.echo(f"  {name:<20} {share:7.2%}")
