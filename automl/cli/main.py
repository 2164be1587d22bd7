"""The command `automl`. Commands import what they need when they run: `--help` stays quick."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from automl import __version__
from automl.cli.agent import agent_app
from automl.cli.benchmark import benchmark
from automl.cli.bundle import bundle_app
from automl.cli.compare import compare
from automl.cli.cross_validate import cross_validate
from automl.cli.data import data_app
from automl.cli.distill import distill
from automl.cli.evaluate import evaluate
from automl.cli.explain import explain
from automl.cli.export import export
from automl.cli.jobs import status, stop, submit, watch
from automl.cli.plan import plan
from automl.cli.predict import predict
from automl.cli.pretrain import pretrain
from automl.cli.prune import prune
from automl.cli.quantize import quantize
from automl.cli.reproduce import reproduce
from automl.cli.search import search
from automl.cli.serve import serve
from automl.cli.space import space_app
from automl.cli.train import train
from automl.errors import AutomlError, UsageError

_EPILOG = (
    "Start here: [bold]automl search --space quickstart.yaml[/bold] needs no data; "
    "[bold]automl data check DIR[/bold] tells whether yours is sound."
)

app = typer.Typer(
    name="automl",
    help="From images and masks to a small, fast, verified segmentation model.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"automl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """From images and masks to a small, fast, verified segmentation model."""


app.command(no_args_is_help=True)(search)
app.command(no_args_is_help=True)(plan)
app.command(no_args_is_help=True)(train)
app.command(no_args_is_help=True)(pretrain)
app.command(no_args_is_help=True)(predict)
app.command(no_args_is_help=True)(serve)
app.command(no_args_is_help=True)(evaluate)
app.command(no_args_is_help=True)(compare)
app.command("cross-validate", no_args_is_help=True)(cross_validate)
app.command(no_args_is_help=True)(explain)
app.command(no_args_is_help=True)(reproduce)
app.command(no_args_is_help=True)(benchmark)
app.command(no_args_is_help=True)(quantize)
app.command(no_args_is_help=True)(export)
app.command(no_args_is_help=True)(prune)
app.command(no_args_is_help=True)(distill)
app.command(
    no_args_is_help=True,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(submit)
app.command()(status)
app.command(no_args_is_help=True)(watch)
app.command(no_args_is_help=True)(stop)
app.add_typer(bundle_app, name="bundle")
app.add_typer(agent_app, name="agent")
app.add_typer(data_app, name="data")
app.add_typer(space_app, name="space")


def main() -> None:
    """Run the command line: exit code 2 for what the user can fix, 1 for what ended a study."""
    # Read when torch is loaded: threads that spin while they wait bring training to a standstill
    # as soon as another program wants a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A name that the terminal's encoding does not have is no reason to fail.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except UsageError as error:
        _tell(str(error))
        sys.exit(2)
    except AutomlError as error:
        _tell(str(error))
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        _tell(f"{error.filename}: {error.strerror}")
        sys.exit(2)


def _tell(text: str) -> None:
    # Several faults get a line each, below one another.
    separator = "\n" if "\n" in text else " "
    print(f"error:{separator}{text}", file=sys.stderr)
