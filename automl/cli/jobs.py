"""`automl submit`, `status`, `watch`, `stop`: searches on a cluster, without this machine."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from automl.cli.stopping import INTERRUPTED
from automl.errors import UsageError

if TYPE_CHECKING:
    from automl.distributed.submission import Job, Jobs

_FAILED = 1
_TAIL = 5

Address = Annotated[
    str | None,
    typer.Option(
        help="The cluster's Ray dashboard; default: $RAY_API_SERVER_ADDRESS, or "
        "http://127.0.0.1:8265, where `ray dashboard` brings it."
    ),
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="As `automl submit` printed it.")]


def submit(
    context: typer.Context,
    space: Annotated[str, typer.Option(help="An experiment file, or the name of a shipped one.")],
    out: Annotated[
        str, typer.Option(help="The study's folder on the cluster, an absolute path; or a URL.")
    ],
    data: Annotated[
        str | None,
        typer.Option(help="A dataset's folder on the cluster, an absolute path; or a URL."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            file_okay=False, exists=True, help="Send this folder along, and start the search in it."
        ),
    ] = None,
    address: Address = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return at once instead of showing what it prints.")
    ] = False,
) -> None:
    """Run a search on a cluster as a job, and show what it prints.

    All other options are those of `automl search`. It goes on when this command ends, by Ctrl-C or
    because the machine sleeps: `automl watch JOB` shows it again. The same command continues a
    study that was stopped.

    Try it: automl submit --space quickstart.yaml --out /mnt/automl/studies/quickstart
    """
    from automl.distributed.submission import Submission

    words = ["--out", _on_cluster("--out", out)]
    if data is not None:
        words += ["--data", data if data.startswith("builtin:") else _on_cluster("--data", data)]
    words += context.args
    _check_words(words)
    found = _checked_file(space)
    jobs = _jobs(address)
    job_id = jobs.submit(Submission(space=found, words=tuple(words), study=out, folder=folder))
    typer.echo(f"job        {job_id}")
    if detach:
        typer.echo(f"next: automl watch {job_id}")
        return
    _follow(jobs, job_id)


def status(
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="One job; default: all.")] = None,
    address: Address = None,
) -> None:
    """Tell how searches on a cluster are doing, and what one printed last.

    Next: automl watch JOB
    """
    jobs = _jobs(address)
    if job is None:
        found = jobs.all()
        for each in found:
            typer.echo(_line(each))
        if not found:
            typer.echo("no search was sent to this cluster: automl submit")
        return
    one = jobs.one(job)
    typer.echo(_line(one))
    for line in jobs.log(job).rstrip().splitlines()[-_TAIL:]:
        typer.echo(f"  {line}")


def watch(job: JobId, address: Address = None) -> None:
    """Show what a search on a cluster prints, from its beginning until it ends."""
    jobs = _jobs(address)
    jobs.one(job)
    _follow(jobs, job)


def stop(job: JobId, address: Address = None) -> None:
    """Stop a search on a cluster: at most the epoch in flight is lost.

    Next: the same `automl submit` continues it.
    """
    jobs = _jobs(address)
    one = jobs.one(job)
    if one.is_over:
        typer.echo(f"{job} had {one.status} already")
        return
    jobs.stop(job)
    typer.echo(f"{job} stops; {one.study} keeps all that is finished")


def _jobs(address: str | None) -> Jobs:
    from automl.distributed.connection import prepare_environment

    prepare_environment()
    from automl.distributed.submission import DEFAULT_ADDRESS, Jobs

    # They tell of packages that are none of the user's, each at a level of its own.
    for module in ("dashboard.modules.dashboard_sdk", "_private.runtime_env.packaging"):
        logging.getLogger(f"ray.{module}").setLevel(logging.ERROR)

    default = os.environ.get("RAY_API_SERVER_ADDRESS", DEFAULT_ADDRESS)
    return Jobs(default if address is None else address)


def _follow(jobs: Jobs, job_id: str) -> None:
    try:
        job = jobs.follow(job_id, _show)
    except KeyboardInterrupt:
        typer.echo(f"\n{job_id} goes on without this command: automl watch {job_id}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if not job.is_over:
        typer.echo(f"the connection was lost; {job_id} goes on: automl watch {job_id}", err=True)
        raise typer.Exit(_FAILED)
    typer.echo(f"{job_id} has {job.status}")
    if job.status == "failed":
        raise typer.Exit(_FAILED)


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _line(job: Job) -> str:
    started = "" if job.started is None else job.started.astimezone().strftime("%Y-%m-%d %H:%M")
    return f"{job.job_id}  {job.status:<9}  {started:<16}  {job.study}"


def _on_cluster(option: str, path: str) -> str:
    from automl.storage.location import checked_url, is_url

    if is_url(path):
        return checked_url(path, option)
    if not Path(path).is_absolute():
        raise UsageError(
            f"{option}: given {path}; allowed: an absolute path, on the file system that the "
            "cluster's nodes share, such as /mnt/automl/studies/camvid; or s3://bucket/prefix"
        )
    return path


def _check_words(words: list[str]) -> None:
    """Refuse here what `automl search` would refuse there."""
    from automl.cli.search import search

    if "--address" in words or "--local" in words:
        raise UsageError("--address and --local: the search runs on the cluster that it is sent to")
    app = typer.Typer(add_completion=False)
    app.command()(search)
    # What typer raises on bad words, of which it exports this one alone.
    bad_words = cast("type[Exception]", typer.BadParameter.__mro__[1])
    try:
        typer.main.get_command(app).make_context("automl search", ["--space", "-", *words])
    except bad_words as fault:
        raise UsageError(getattr(fault, "format_message", fault.__str__)()) from fault


def _checked_file(space: str) -> Path:
    from automl.space.loading import find_space, load_experiment

    # Without its networks: weights may lie on the cluster, and PyTorch would have to be loaded.
    load_experiment(space)
    return find_space(space)
