"""`automl reproduce`: one trial of a study trained again, and compared with its record."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli.places import here, written_here
from automl.cli.stopping import stoppable

if TYPE_CHECKING:
    from automl.jobs.trial import TrainTrial
    from automl.records import Scalar
    from automl.stages.comparison import EpochComparison, Reproduction
    from automl.stages.reproduce import ReproductionPlan


def reproduce(
    study: Annotated[
        Path, typer.Argument(help="A study's folder, such as results/my-study.", callback=here)
    ],
    trial: Annotated[str, typer.Argument(help="A trial's number or id: 4, or 0004-e112a1cf.")],
    epochs_only: Annotated[
        int | None, typer.Option(min=1, help="Train the first epochs alone.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Largest difference of the accuracy to accept.")
    ] = 0.0,
    data: Annotated[
        str | None, typer.Option(help="Where the study's dataset lies now, if it was moved.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A new folder that keeps the last checkpoint.", callback=written_here),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; default: as recorded.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(envvar="RAY_ADDRESS", help="A Ray cluster, for trials of several workers."),
    ] = None,
) -> None:
    """Train a trial again as it was recorded, and compare each epoch.

    The study is only read, the data must be its own. Needs Ray only for trials of several workers.

    Exit code 0: identical, or within the tolerance; 1: it differs; 2: it cannot be compared.

    Try it: automl reproduce results/quickstart 0
    """
    from automl.stages.reproduce import ReproductionRequest, plan_reproduction
    from automl.stages.reproduce import reproduce as train_again

    plan = plan_reproduction(
        ReproductionRequest(
            root=study,
            trial=trial,
            epochs=epochs_only,
            data=data,
            threads=threads,
            tolerance=tolerance,
            out=out,
        )
    )
    for line in _plan_lines(plan, study):
        typer.echo(line)
    with stoppable("; nothing was kept."):
        done = train_again(
            plan,
            lambda epoch: typer.echo(_epoch_line(epoch, plan.metric)),
            train=_trainer(plan.experiment.train.workers, address),
        )
    for line in _verdict_lines(plan, done):
        typer.echo(line)
    if done.verdict == "differs":
        raise typer.Exit(1)


def _trainer(workers: int, address: str | None) -> TrainTrial:
    """Batches, sums and random numbers depend on the number of workers: it stays as recorded."""
    if workers == 1:
        from automl.jobs.trial import train_in_this_process

        return train_in_this_process
    from automl.distributed import connection

    connection.prepare_environment()
    connection.connect(os.environ.get("RAY_ADDRESS") if address is None else address)
    from automl.distributed.worker_group import train_in_worker_group

    return train_in_worker_group


def _plan_lines(plan: ReproductionPlan, root: Path) -> list[str]:
    record, info, train = plan.record, plan.dataset.info, plan.experiment.train
    status = "unfinished" if record.status is None else str(record.status)
    reached = f"{status}, epoch {record.epochs} of {train.epochs}, seed {record.config.seed}"
    params = ", ".join(f"{name} {_shown(value)}" for name, value in record.config.params.items())
    group = f" each of {train.workers} workers" if train.workers > 1 else ""
    return [
        f"trial      {record.config.trial_id} of {root}: {reached}",
        f"           {params}",
        f"data       {info.name}, fingerprint {info.fingerprint[:16]}, as recorded",
        f"runs on    {plan.runs_on}: {plan.threads} CPU thread(s){group}",
        *_environment_lines(plan),
        "",
        f"epoch  {plan.metric} recorded  reproduced  difference",
    ]


def _shown(value: Scalar) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _environment_lines(plan: ReproductionPlan) -> list[str]:
    if plan.differences is None:
        return ["recorded   nothing on packages, CPU and threads: the study does not say"]
    if not plan.differences:
        return ["recorded   the same packages, CPU and threads"]
    return [f"unlike     {difference}" for difference in plan.differences]


def _epoch_line(epoch: EpochComparison, metric: str) -> str:
    difference = epoch.difference(metric)
    recorded = "-" if epoch.recorded is None else f"{epoch.recorded[metric]:.6f}"
    gap = "-" if difference is None else f"{difference:+.2e}" if difference else "0"
    width = len(f"{metric} recorded")
    return f"{epoch.epoch:>5}  {recorded:>{width}}  {epoch.reproduced[metric]:>10.6f}  {gap:>10}"


def _verdict_lines(plan: ReproductionPlan, done: Reproduction) -> list[str]:
    lines = ["", done.verdict_text()]
    if done.verdict != "identical":
        why = {
            True: "another environment, listed above, adds floating-point numbers otherwise",
            False: "the environment is as recorded, so this is not its doing",
        }
        unknown = "the study does not record its environment; --threads sets the CPU threads"
        lines.append(unknown if plan.differences is None else why[bool(plan.differences)])
    if plan.out is not None:
        lines.append(f"checkpoint: {plan.out}")
    return lines
