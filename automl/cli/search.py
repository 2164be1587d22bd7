"""`automl search`: one experiment file in, verified bundles out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli.opening import imported_dataset as _dataset
from automl.cli.opening import (
    opened_folder,
    plain_console,
    ray_backend,
)
from automl.cli.stopping import stoppable, to_continue
from automl.cli.study_options import Epochs, Seed, Space, TimeBudget, Trials, WorkersPerTrial
from automl.cli.target_options import Target, TokenFile, agent_of
from automl.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from automl.agent_stopwatch import DeviceAgent
    from automl.backend import Backend
    from automl.data.dataset import Dataset
    from automl.space.experiment import Experiment
    from automl.stages.pipeline import StudyReport
    from automl.storage.residence import Residence


def search(
    space: Space,
    data: Annotated[
        str | None, typer.Option(help="A dataset's folder or URL; replaces the file's data.source.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="The study's folder, or s3://bucket/prefix; default: results/<name of the file>."
        ),
    ] = None,
    trials: Trials = None,
    epochs: Epochs = None,
    time_budget: TimeBudget = None,
    seed: Seed = None,
    workers_per_trial: WorkersPerTrial = None,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster; default: $RAY_ADDRESS, or one started here.")
    ] = None,
    wait_for_workers: Annotated[
        str | None,
        typer.Option(
            help="How long to wait, such as 20m, for workers of a cluster that grows by demand: as "
            "many as search.concurrent asks for, or one."
        ),
    ] = None,
    dashboard: Annotated[
        bool,
        typer.Option("--dashboard", help="Start Ray's dashboard, too, on this machine alone."),
    ] = False,
    track: Annotated[
        str | None,
        typer.Option(help="Programs that follow the study: tensorboard, mlflow, or both by comma."),
    ] = None,
    target: Target = None,
    token_file: TokenFile = None,
    local: Annotated[
        bool, typer.Option("--local", help="Run in this process, without Ray.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete the study in --out and start anew.")
    ] = False,
) -> None:
    """Search, compress, rank and export: ends in verified bundles in OUT/bundles.

    The same command continues a study that was interrupted.

    Try it without data: automl search --space quickstart.yaml
    """
    from automl.cli.experiment import load_checked
    from automl.space.loading import Overrides
    from automl.tracking.choice import programs_of

    if local and address is not None:
        raise UsageError("--local and --address exclude each other: give one of them")
    if local and (dashboard or wait_for_workers is not None):
        raise UsageError("--dashboard and --wait-for-workers are Ray's: leave out --local")
    overrides = Overrides(
        trials=trials,
        epochs=epochs,
        time_budget=time_budget,
        data=data,
        seed=seed,
        workers=workers_per_trial,
    )
    place = str(Path("results", Path(space).stem)) if out is None else out
    where = _Where(
        local=local,
        address=address,
        overwrite=overwrite,
        dashboard=dashboard,
        wait_s=_seconds(wait_for_workers),
        programs=programs_of(track),
    )
    with stoppable(to_continue(), kept=place):
        experiment = load_checked(space, overrides)
        timing = experiment.target
        agent = agent_of(target, token_file, runtime=timing.runtime, threads=timing.threads)
        _run(experiment, place, replace(where, agent=agent))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Where:
    """Where a study runs and is timed, and whether it begins anew."""

    local: bool
    address: str | None
    overwrite: bool
    dashboard: bool = False
    wait_s: float | None = None
    programs: tuple[str, ...] = ()
    agent: DeviceAgent | None = None


def _run(experiment: Experiment, place: str, where: _Where) -> None:
    from automl.cli.describe import describe_dataset, describe_report, describe_warnings
    from automl.stages.teaching_room import check_teaching_room
    from automl.storage.residence import resident

    console = plain_console()

    def tell(line: str) -> None:
        console.print(line, highlight=False, markup=False)

    with resident(place, tell=tell) as residence:
        dataset = _dataset(experiment, console)
        check_teaching_room(experiment, dataset.info)
        for line in [*describe_dataset(dataset.info), *describe_warnings(dataset.warnings)]:
            tell(line)
        with _backend(experiment, where) as backend:
            report = _search_in(residence, _Search(experiment, dataset, backend, where), console)
    console.print(describe_report(report, place))


@dataclass(frozen=True, slots=True)
class _Search:
    """What is searched, on which data, and by whom."""

    experiment: Experiment
    dataset: Dataset
    backend: Backend
    where: _Where


def _search_in(residence: Residence, search: _Search, console: Console) -> StudyReport:
    from automl.cli.describe import describe_plan
    from automl.cli.interruption import InterruptibleProgress, interruptible
    from automl.cli.progress import showing_progress
    from automl.cli.tracking import tracked
    from automl.stages.pipeline import run_study
    from automl.stages.study import Study

    experiment, backend = search.experiment, search.backend
    # Ray, when it starts, puts a handler of its own in place: ours comes after it.
    with interruptible() as interruption:
        # Nothing is written, and no old study removed, before it is known that jobs can run.
        folder = opened_folder(
            experiment, residence, search.dataset.info, overwrite=search.where.overwrite
        )
        latency = backend.stopwatch().describe()
        for line in describe_plan(experiment, backend.describe(), latency, residence.shown):
            console.print(line, highlight=False, markup=False)
        upkeep = residence.upkeep
        if backend.uses_other_machines():
            upkeep.share_dataset(search.dataset.root)
        with (
            showing_progress(console, experiment.objectives) as progress,
            tracked(
                InterruptibleProgress(progress, interruption), folder, search.where.programs
            ) as narrator,
        ):
            study = Study(
                experiment=experiment,
                folder=folder,
                dataset=search.dataset,
                backend=backend,
                narrator=narrator,
                upkeep=upkeep,
            )
            report = run_study(study, clock=time.monotonic)
        upkeep.keep()  # what programs that follow have written at the end
    return report


@contextmanager
def _backend(experiment: Experiment, where: _Where) -> Iterator[Backend]:
    backend = _local(experiment, where) if where.local else _on_ray(experiment, where)
    try:
        yield backend
    finally:
        backend.close()


def _local(experiment: Experiment, where: _Where) -> Backend:
    from automl.agent_stopwatch import AgentStopwatch
    from automl.backend import LocalBackend

    if where.agent is None:
        return LocalBackend(experiment)
    return LocalBackend(experiment, AgentStopwatch(where.agent))


def _on_ray(experiment: Experiment, where: _Where) -> Backend:
    return ray_backend(
        experiment,
        where.address,
        dashboard=where.dashboard,
        wait_s=where.wait_s,
        agent=where.agent,
    )


def _seconds(text: str | None) -> float | None:
    from automl.space.fields import seconds_of

    try:
        return None if text is None else seconds_of(text)
    except ValueError as fault:
        raise UsageError(f"--wait-for-workers: {fault}") from None
