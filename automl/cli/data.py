"""`automl data`: datasets, checked and imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli.preview import preview
from automl.cli.resize_option import ResizeOption

if TYPE_CHECKING:
    from automl.data.dataset import Dataset
    from automl.resize import Resize

data_app = typer.Typer(help="Check datasets, look at them, and import them.", no_args_is_help=True)

#: Height and width of an import, where none is given.
_SIZE = (192, 256)

_LAYOUT = (
    "train|val|test / images|masks, or images|masks alone (then split 70/15/15); masks hold class "
    "indices; dataset.yaml beside them names the classes and the ignore_index"
)


@data_app.command(no_args_is_help=True)
def check(
    source: Annotated[str, typer.Argument(help=f"A dataset: {_LAYOUT}.", metavar="DIR")],
    split_seed: Annotated[
        int, typer.Option(min=0, help="Seed of the split, where there is none.")
    ] = 0,
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(help="Also tell what is lost at this height and width: --size 192 256."),
    ] = None,
    resize: ResizeOption = "stretch",
) -> None:
    """Tell every fault of a dataset, naming the files, or what it holds.

    Next: automl search --space lightweight.yaml --data DIR
    """
    from automl.cli.resize_option import resize_of
    from automl.data.check import check_folder
    from automl.data.dataset import is_dataset
    from automl.data.import_cache import BUILTINS
    from automl.data.importing import check_size, check_source, local_source
    from automl.data.letterbox import Frame

    wanted = resize_of(resize)
    source = local_source(source)
    check_source(source)
    if size is not None:
        check_size(size)
    if source in BUILTINS or is_dataset(Path(source)):
        _tell_imported(source, split_seed, size, wanted)
        return
    frame = None if size is None else Frame(size, wanted)
    report = check_folder(Path(source), split_seed=split_seed, frame=frame)
    typer.echo(report.summary())
    if report.faults:
        raise typer.Exit(2)


def _tell_imported(
    source: str, split_seed: int, size: tuple[int, int] | None, resize: Resize
) -> None:
    """Describe a dataset that was checked when it was written, or is made by this program."""
    from automl.data.dataset import open_dataset
    from automl.data.import_cache import BUILTINS
    from automl.data.importing import cached_dataset

    made = source in BUILTINS
    if made or size is not None:
        size = _SIZE if size is None else size
        dataset = cached_dataset(source, size=size, resize=resize, split_seed=split_seed)
    else:
        dataset = open_dataset(Path(source))
    kind = "made by this program" if made else "imported already"
    typer.echo(f"{source}: {kind}; nothing is left to check")
    _tell(dataset)


def _tell(dataset: Dataset) -> None:
    from automl.cli.describe import describe_dataset

    warnings = [f"warning    {warning}" for warning in dataset.warnings]
    for line in [*describe_dataset(dataset.info), *warnings]:
        typer.echo(line)


data_app.command(no_args_is_help=True)(preview)


@data_app.command("import", no_args_is_help=True)
def import_(
    source: Annotated[str, typer.Argument(help=f"builtin:surface-defects, or {_LAYOUT}.")],
    destination: Annotated[
        Path, typer.Argument(help="Where to write: a new folder, or an import to replace.")
    ],
    size: Annotated[
        tuple[int, int], typer.Option(help="Height and width, multiples of 32: --size 192 256.")
    ] = _SIZE,
    split_seed: Annotated[
        int, typer.Option(min=0, help="Seed of the split, where there is none.")
    ] = 0,
    resize: ResizeOption = "stretch",
) -> None:
    """Import a dataset once, at training resolution, into memory-mapped Arrow files.

    `automl search` does this by itself, and keeps the result in its cache.
    """
    from automl.cli.resize_option import resize_of
    from automl.data.importing import import_dataset

    dataset = import_dataset(
        source,
        size=size,
        resize=resize_of(resize),
        split_seed=split_seed,
        destination=destination,
    )
    _tell(dataset)
    typer.echo(f"imported into {destination}")
