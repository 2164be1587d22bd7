"""Options that say which study is meant, and how long it is; importing them costs nothing."""

from __future__ import annotations

from typing import Annotated

import typer

Space = Annotated[
    str, typer.Option(help="An experiment file, or the name of a shipped one: quickstart.yaml.")
]
Trials = Annotated[int | None, typer.Option(min=1, help="Configurations to try.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Epochs of a full trial.")]
TimeBudget = Annotated[str | None, typer.Option(help="Longest time to search, such as 30m or 2h.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of the study.")]
WorkersPerTrial = Annotated[
    int | None, typer.Option(min=1, help="Data-parallel processes of each trial.")
]
