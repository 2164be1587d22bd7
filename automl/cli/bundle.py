"""`automl bundle`: bundles, verified."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

bundle_app = typer.Typer(help="Verify bundles.", no_args_is_help=True)


@bundle_app.callback()
def _bundle() -> None:
    """Verify bundles."""


@bundle_app.command(no_args_is_help=True)
def verify(bundle: Annotated[Path, typer.Argument(help="The folder of a bundle.")]) -> None:
    """Check every file of a bundle and replay its golden samples; exit code 2 on any fault.

    Next: automl predict BUNDLE photo.jpg --out mask.png
    """
    from automl.bundle.verify import verify_bundle

    report = verify_bundle(bundle)
    for line in report.lines():
        typer.echo(line)
