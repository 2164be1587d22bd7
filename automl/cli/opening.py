"""What the commands that train open before they work: the data, the study's folder, a cluster."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from automl.agent_stopwatch import DeviceAgent
    from automl.backend import Backend
    from automl.data.dataset import Dataset
    from automl.records import DatasetInfo
    from automl.space.experiment import Experiment
    from automl.storage.residence import Residence
    from automl.store.layout import StudyFolder


def plain_console() -> Console:
    """The console of standard output; lines in a pipe are never cut: tables keep their width."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=128)


def imported_dataset(experiment: Experiment, console: Console) -> Dataset:
    """The dataset of an experiment, imported now where the cache does not hold it."""
    from automl.data.importing import cached_dataset

    data = experiment.data
    with console.status("importing images") as status:
        return cached_dataset(
            data.source,
            size=data.size,
            resize=data.fit,
            split_seed=data.split_seed,
            progress=lambda done, total: status.update(f"importing images: {done} of {total}"),
        )


def dataset_for_weights(experiment: Experiment, known: DatasetInfo, console: Console) -> Dataset:
    """The dataset of an experiment as weights take it that were trained on `known`."""
    from automl.data.importing import cached_for_network
    from automl.data.letterbox import Frame

    with console.status("importing images") as status:
        return cached_for_network(
            experiment.data.source,
            Frame(known.size, known.resize),
            known.classes,
            split_seed=experiment.data.split_seed,
            progress=lambda done, total: status.update(f"importing images: {done} of {total}"),
        )


def opened_folder(
    experiment: Experiment, residence: Residence, info: DatasetInfo, *, overwrite: bool
) -> StudyFolder:
    """The study's folder, begun or opened, and bound to its dataset."""
    from automl.store.layout import StudyFolder

    if overwrite:
        residence.clear()
    residence.begin()
    root = residence.root
    folder = StudyFolder(root)
    if folder.dataset_file.exists():
        # Another dataset is refused before anything is written.
        folder.record_dataset(info)
    folder = StudyFolder.open_or_create(root, experiment.to_json(), experiment.key())
    folder.record_dataset(info)
    return folder


def ray_backend(
    experiment: Experiment,
    address: str | None,
    *,
    dashboard: bool = False,
    wait_s: float | None = None,
    agent: DeviceAgent | None = None,
) -> Backend:
    """The backend on the cluster that is named, or on one that is started here.

    With `dashboard` Ray's is started, too, and told of; with `wait_s` workers that come by demand
    are waited for; with `agent` latencies are measured there.
    """
    from automl.distributed import connection

    connection.prepare_environment()
    url = connection.connect(
        os.environ.get("RAY_ADDRESS") if address is None else address,
        worker_groups=experiment.train.workers > 1,
        dashboard=dashboard,
    )
    if dashboard:
        typer.echo(f"dashboard  {'none on this cluster' if url is None else url}")
    from automl.agent_stopwatch import AgentStopwatch
    from automl.distributed.growth import wait_for_workers
    from automl.distributed.ray_backend import RayBackend

    if wait_s is not None:
        wait_for_workers(experiment, wait_s)
    return RayBackend(experiment, None if agent is None else AgentStopwatch(agent))
