"""`automl plan`: what a study will take, in time, devices and money, before any of it is spent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli.places import written_here
from automl.cli.stopping import stoppable
from automl.cli.study_options import Epochs, Seed, Space, TimeBudget, Trials, WorkersPerTrial
from automl.errors import UsageError

if TYPE_CHECKING:
    from automl.backend import Backend
    from automl.planning.request import Request
    from automl.space.experiment import Experiment
    from automl.space.loading import Overrides


def plan(
    space: Space,
    data: Annotated[
        str | None, typer.Option(help="A dataset's folder; replaces data.source of the file.")
    ] = None,
    cluster: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A file for `ray up`, such as cluster/aws.yaml; default: machines like this one, "
            "without money.",
        ),
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Prices; default: prices.yaml beside the cluster file."),
    ] = None,
    nodes: Annotated[
        str | None,
        typer.Option(
            help="Numbers of training machines; default: 1,2,4,8, as far as the cluster has them; "
            "1 without a cluster."
        ),
    ] = None,
    node_type: Annotated[
        str | None, typer.Option(help="Which of the cluster's node types trains, if several kinds.")
    ] = None,
    speedup: Annotated[
        str | None,
        typer.Option(
            help="How many times as fast a GPU of the cluster, or a trial's place on it, trains "
            "as a core of this machine: 8, or 6-12. Needed for GPUs where the probe has none, "
            "unless the prices have `speed`."
        ),
    ] = None,
    node_start: Annotated[
        str, typer.Option(help="From asking for a machine until it works, such as 6m.")
    ] = "6m",
    node_life: Annotated[
        str | None,
        typer.Option(help="How long a machine lives before it is taken away, on average: 8h."),
    ] = None,
    networks: Annotated[
        int, typer.Option(min=1, max=100, help="Configurations to probe: the first of the search.")
    ] = 4,
    trials: Trials = None,
    epochs: Epochs = None,
    time_budget: TimeBudget = None,
    seed: Seed = None,
    workers_per_trial: WorkersPerTrial = None,
    address: Annotated[
        str | None,
        typer.Option(help="Probe on this Ray cluster instead of here; --out must be shared by it."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The study's folder: keeps the plan there, for its report to compare.",
            callback=written_here,
        ),
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", help="Also write the plan here.", callback=written_here
        ),
    ] = None,
) -> None:
    """Estimate time, device-hours and money of a study for several numbers of machines.

    A few networks are exported and trained for a few steps; then the search is simulated many
    times. Nothing is started and nothing is spent.

    Try it: automl plan --space quickstart.yaml --cluster cluster/aws.yaml --speedup 8-20
    """
    from automl.planning.request import PlanOptions, Request
    from automl.space.loading import Overrides

    if address is not None and cluster is None:
        raise UsageError("--address: only with --cluster, which says what its machines are")
    if address is not None and out is None:
        raise UsageError(
            "--address: the probe writes files that the cluster's nodes read: name a folder that "
            "they share with --out"
        )
    places = _places(out, json)
    request = Request.parse(
        PlanOptions(
            cluster=cluster,
            prices=prices,
            nodes=nodes,
            node_type=node_type,
            speedup=speedup,
            node_start=node_start,
            node_life=node_life,
        )
    )
    overrides = Overrides(
        trials=trials,
        epochs=epochs,
        time_budget=time_budget,
        data=data,
        seed=seed,
        workers=workers_per_trial,
    )
    with stoppable(": nothing was written."):
        _run(space, overrides, request, networks, address, places)


def _places(out: Path | None, json: Path | None) -> list[Path]:
    """Where the plan is written to; what cannot be written to is refused before any work."""
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"--out: given {out}, a file; allowed: the study's folder, or a new one")
    if json is not None and json.is_dir():
        raise UsageError(f"--json: given {json}, a folder; allowed: a file to write")
    kept = [] if out is None else [out / "plan.json"]
    return kept if json is None else [*kept, json]


def _run(
    space: str,
    overrides: Overrides,
    request: Request,
    networks: int,
    address: str | None,
    places: list[Path],
) -> None:
    from automl.cli.experiment import load_checked
    from automl.cli.opening import imported_dataset, plain_console
    from automl.cli.plan_table import describe_option_table, describe_probe
    from automl.planning.plan import write_plan
    from automl.stages.plan import Probing, plan_study, target_of

    experiment = load_checked(space, overrides)
    target = target_of(experiment, request, probed_there=address is not None)
    console = plain_console()

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False)

    for line in request.warnings:
        say(f"warning    {line}")
    dataset = imported_dataset(experiment, console)
    say(f"probing    {networks} networks on {'the cluster' if address else 'this machine'}")
    shared = places[0].parent if address is not None else None
    with _backend(experiment, address) as backend, console.status("probing and simulating"):
        study_plan = plan_study(
            experiment, dataset, backend, target, Probing(networks=networks, shared=shared), say
        )
    for line in describe_probe(study_plan):
        say(line)
    console.print(describe_option_table(study_plan))
    for line in study_plan.assumptions:
        say(f"assumed    {line}")
    for file in places:
        write_plan(file, study_plan)
        say(f"plan       {file}")


@contextmanager
def _backend(experiment: Experiment, address: str | None) -> Iterator[Backend]:
    """Where the probe runs: in this process, or on a cluster."""
    if address is None:
        from automl.backend import LocalBackend
        from automl.stages.probe import probed_experiment

        backend: Backend = LocalBackend(probed_experiment(experiment, here=True))
    else:
        from automl.cli.opening import ray_backend

        backend = ray_backend(experiment, address)
    try:
        yield backend
    finally:
        backend.close()
