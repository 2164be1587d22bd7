"""`automl explain`: where a trial's network looks for a class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automl.cli.places import here, written_here


def explain(
    study: Annotated[
        Path, typer.Argument(help="A study's folder, such as results/my-study.", callback=here)
    ],
    image: Annotated[Path, typer.Option(help="Any image that Pillow reads.")],
    class_: Annotated[str, typer.Option("--class", help="The name of a class of the study.")],
    out: Annotated[
        Path, typer.Option(help="Where to write the picture (PNG).", callback=written_here)
    ],
    trial: Annotated[
        str, typer.Argument(help="A trial's number or id, or the best of its accuracy.")
    ] = "best",
    layer: Annotated[
        str, typer.Option(help="encoder (its coarsest map) or decoder (its last).")
    ] = "encoder",
) -> None:
    r"""Show where a trial's network looks for a class: Grad-CAM, laid over the image.

    Red speaks for the class; a white line surrounds the pixels that the network gives to it. Needs
    the trial's checkpoint, and the extra: pip install 'automl\[explain]'.

    Try it: automl explain results/my-study 4 --image photo.jpg --class car --out car.png
    """
    from automl.errors import UsageError
    from automl.stages.explain import LAYERS, ExplanationRequest
    from automl.stages.explain import explain as explain_class

    chosen = next((name for name in LAYERS if name == layer), None)
    if chosen is None:
        raise UsageError(f"--layer: given {layer!r}; allowed: {', '.join(LAYERS)}")
    done = explain_class(
        ExplanationRequest(
            study=study, trial=trial, image=image, class_name=class_, out=out, layer=chosen
        )
    )
    typer.echo(f"{out}: {class_} by the {layer} of trial {done.trial_id}, epoch {done.epoch}")
    if done.focus is None:
        typer.echo(f"the network sees no {class_} here: its score on all pixels is explained")
    else:
        typer.echo(
            f"{class_} covers {done.share:.1%} of the image; "
            f"{done.focus:.0%} of the heat lies there"
        )
