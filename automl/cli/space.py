"""`automl space`: experiment files, checked and described."""

from __future__ import annotations

import json
from typing import Annotated

import typer

space_app = typer.Typer(
    help="Check experiment files, and print their schema for editors.", no_args_is_help=True
)


@space_app.command(no_args_is_help=True)
def check(
    file: Annotated[str, typer.Argument(help="A path, or the name of a shipped file.")],
) -> None:
    """Tell every fault of an experiment file at once, or what it declares.

    Next: automl search --space FILE
    """
    from automl.cli.describe import describe_experiment
    from automl.cli.experiment import load_checked

    experiment = load_checked(file)
    for line in describe_experiment(experiment):
        typer.echo(line)
    typer.echo(f"{file} is sound")


@space_app.command()
def schema() -> None:
    """Print the JSON Schema of experiment files.

    In VS Code, the YAML extension reads it: automl space schema > automl.schema.json, then begin a
    file with: # yaml-language-server: $schema=automl.schema.json
    """
    from automl.space.loading import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
