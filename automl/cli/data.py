"""`automl data`: datasets, checked and imported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

data_app = typer.Typer(help="Check datasets, and import them.", no_args_is_help=True)

_LAYOUT = (
    "train|val|test / images|masks, or images|masks alone (then split 70/15/15); masks hold class "
    "indices; dataset.yaml beside them names the classes and the ignore_index"
)


@data_app.command(no_args_is_help=True)
def check(
    directory: Annotated[Path, typer.Argument(help=f"A dataset: {_LAYOUT}.")],
    split_seed: Annotated[
        int, typer.Option(min=0, help="Seed of the split, where there is none.")
    ] = 0,
) -> None:
    """Tell every fault of a dataset, naming the files, or what it holds.

    Next: automl search --space lightweight.yaml --data DIR
    """
    from automl.data.check import check_folder

    report = check_folder(directory, split_seed=split_seed)
    typer.echo(report.summary())
    if report.faults:
        raise typer.Exit(2)


@data_app.command("import", no_args_is_help=True)
def import_(
    source: Annotated[str, typer.Argument(help=f"builtin:surface-defects, or {_LAYOUT}.")],
    destination: Annotated[
        Path, typer.Argument(help="Where to write: a new folder, or an import to replace.")
    ],
    size: Annotated[
        tuple[int, int], typer.Option(help="Height and width, multiples of 32: --size 192 256.")
    ] = (192, 256),
    split_seed: Annotated[
        int, typer.Option(min=0, help="Seed of the split, where there is none.")
    ] = 0,
) -> None:
    """Import a dataset once, at training resolution, into memory-mapped Arrow files.

    `automl search` does this by itself, and keeps the result in its cache.
    """
    from automl.cli.describe import describe_dataset
    from automl.data.importing import import_dataset

    dataset = import_dataset(source, size=size, split_seed=split_seed, destination=destination)
    for line in describe_dataset(dataset.info):
        typer.echo(line)
    typer.echo(f"imported into {destination}")
