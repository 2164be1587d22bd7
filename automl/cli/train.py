"""`automl train`: one training of one configuration, from scratch or from trained weights."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli.opening import (
    dataset_for_weights,
    imported_dataset,
    opened_folder,
    plain_console,
    ray_backend,
)
from automl.cli.places import here, written_here
from automl.cli.stopping import stoppable, to_continue
from automl.errors import UsageError

if TYPE_CHECKING:
    from automl.backend import Backend
    from automl.space.experiment import Experiment
    from automl.stages.training_plan import TrainingPlan
    from automl.training.group import LaunchedRank


def train(
    out: Annotated[Path, typer.Option(help="The folder of this training.", callback=written_here)],
    space: Annotated[
        str | None,
        typer.Option(help="An experiment file, or the name of a shipped one: lightweight.yaml."),
    ] = None,
    trial: Annotated[
        Path | None,
        typer.Option(
            help="A trial of a study instead: STUDY/4, or STUDY/0004-e1c2.", callback=here
        ),
    ] = None,
    continue_from: Annotated[
        Path | None,
        typer.Option(
            help="Trained weights instead: a bundle, STUDY/4, a checkpoint, weights/.",
            callback=here,
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="A dataset's folder; replaces the declared source.")
    ] = None,
    params: Annotated[
        list[str] | None,
        typer.Option(
            help="Values of parameters: learning_rate=1e-3,batch_size=4. May be repeated."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs to train.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the training.")] = None,
    workers_per_trial: Annotated[
        int | None, typer.Option(min=1, help="Data-parallel processes, on Ray.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster for them; default: $RAY_ADDRESS, or one here.")
    ] = None,
    old_data: Annotated[
        str | None,
        typer.Option(help="What the weights were trained on; default: as their study recorded."),
    ] = None,
    ewc_lambda: Annotated[
        float, typer.Option(min=0, help="Strength of elastic weight consolidation; 0: none.")
    ] = 0.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete the training in --out and start anew.")
    ] = False,
) -> None:
    """Train one configuration by hand: ends in verified bundles in OUT/bundles.

    What is trained is the default of --space, a --trial of a study, or the weights of
    --continue-from, with --params over it. The same command continues an interrupted training.

    Also: torchrun --nproc_per_node 2 -m automl train ... (without Ray).

    Try it without data: automl train --space quickstart.yaml --out my-training
    """
    from automl.training.group import joined, launched_rank

    launched = launched_rank()
    if launched is not None and launched.rank > 0:
        from automl.jobs.launched import follow_first_rank

        with joined():
            follow_first_rank()
        return
    workers = _workers(workers_per_trial, launched)
    given = _Given(
        space=space,
        trial=trial,
        continue_from=continue_from,
        data=data,
        params=tuple([] if params is None else params),
        epochs=epochs,
        seed=seed,
        workers=workers,
        old_data=old_data,
        ewc_lambda=ewc_lambda,
    )
    with stoppable(to_continue(), kept=out):
        plan = _plan(given)
        _run(plan, out, _Where(launched=launched, address=address, overwrite=overwrite))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What to train, as it was typed."""

    space: str | None
    trial: Path | None
    continue_from: Path | None
    data: str | None
    params: tuple[str, ...]
    epochs: int | None
    seed: int | None
    workers: int | None
    old_data: str | None
    ewc_lambda: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Where:
    """Where the training runs, and whether it begins anew."""

    launched: LaunchedRank | None
    address: str | None
    overwrite: bool


def _workers(asked: int | None, launched: LaunchedRank | None) -> int | None:
    """The processes of the training: under torchrun, those that it started."""
    if launched is None:
        return asked
    if asked is not None:
        raise UsageError(
            f"--workers-per-trial: given {asked}; allowed under torchrun: none, its "
            "--nproc_per_node says how many"
        )
    return launched.world_size


def _plan(given: _Given) -> TrainingPlan:
    from automl.space.fixed import parse_assignments
    from automl.space.loading import load_experiment

    params = parse_assignments(given.params, "--params")
    space = None if given.space is None else load_experiment(given.space)
    # Imported only now: what is no experiment or no parameter at all is told at once.
    typer.secho("loading PyTorch ...", err=True, dim=True)
    from automl.stages.training_plan import TrainingRequest, plan_training

    return plan_training(
        TrainingRequest(
            space=space,
            trial=given.trial,
            continue_from=given.continue_from,
            params=params,
            data=given.data,
            epochs=given.epochs,
            seed=given.seed,
            workers=given.workers,
            old_data=given.old_data,
            ewc_lambda=given.ewc_lambda,
        )
    )


def _run(plan: TrainingPlan, out: Path, where: _Where) -> None:
    from automl.cli.describe import describe_dataset, describe_warnings
    from automl.cli.interruption import InterruptibleProgress, interruptible
    from automl.cli.training_lines import TrainingLines, closing_lines, plan_lines
    from automl.stages.study import Study
    from automl.stages.train import train_once
    from automl.storage.residence import FolderResidence

    experiment, console = plan.experiment, plain_console()
    dataset = (
        imported_dataset(experiment, console)
        if plan.start is None
        else dataset_for_weights(experiment, plan.start.network.dataset, console)
    )
    for line in [*describe_dataset(dataset.info), *describe_warnings(dataset.warnings)]:
        typer.echo(line)
    # Ray, when it starts, puts a handler of its own in place: ours comes after it.
    with _backend(experiment, where) as backend, interruptible() as interruption:
        # Nothing is written, and nothing old removed, before it is known that it can run.
        folder = opened_folder(
            experiment,
            FolderResidence(out.absolute(), str(out)),
            dataset.info,
            overwrite=where.overwrite,
        )
        for line in plan_lines(plan, backend.describe(), out):
            typer.echo(line)
        study = Study(
            experiment=experiment,
            folder=folder,
            dataset=dataset,
            backend=backend,
            narrator=InterruptibleProgress(TrainingLines(experiment), interruption),
        )
        report = train_once(study, plan.start, clock=time.monotonic)
    for line in closing_lines(report, experiment, out):
        typer.echo(line)


@contextmanager
def _backend(experiment: Experiment, where: _Where) -> Iterator[Backend]:
    from automl.backend import LaunchedBackend, LocalBackend

    if where.launched is not None:
        from automl.jobs.launched import leading_group
        from automl.training.group import joined

        with joined(), leading_group():
            yield LaunchedBackend(experiment, where.launched)
        return
    alone = experiment.train.workers == 1
    backend = LocalBackend(experiment) if alone else ray_backend(experiment, where.address)
    try:
        yield backend
    finally:
        backend.close()
