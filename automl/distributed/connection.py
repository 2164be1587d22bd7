"""The connection to Ray: a cluster at an address, or one started here for this process alone."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from automl.distributed.temp_folder import temp_folder
from automl.errors import UsageError
from automl.jobs.context import available_cpus

#: Read by Ray at import or at start; a value that the user has set wins.
_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "RAY_USAGE_STATS_ENABLED": "0",
        # Paths mean in a worker what they mean to the user.
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
        # Tune's loggers repeat what the study's journal holds.
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        # So do its snapshots of all trials, which nothing here restores.
        "TUNE_GLOBAL_CHECKPOINT_S": "86400",
        # How many trials wait for their machines is the fleet's to say, not Tune's.
        "TUNE_MAX_PENDING_TRIALS_PG": "1000000",
        # Ctrl-C is handled by the command line: at most the epoch in flight is lost.
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        # A stopped trial may need this long to leave its worker group before its process is reused.
        "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
        # In containers /dev/shm is often smaller than what we ask for; Ray refuses to start then.
        "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE": "1",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    }
)
#: Where Ray reads the port that a cluster started here is to have.
_PORT = "RAY_GCS_SERVER_PORT"
#: Enough for messages: images are memory-mapped files, not Ray objects.
_OBJECT_STORE_BYTES = 200 * 2**20
#: A label for Ray's scheduler: our trials ask for cores, and for memory one byte at most.
_MEMORY_BYTES = 2**30
#: How long a cluster may take to accept a connection.
_ANSWER_S = 10.0


def prepare_environment() -> None:
    """Set what must be set before Ray is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not os.access(Path.home(), os.W_OK):
        # Ray keeps the token of a local cluster in the home folder, and fails where it cannot.
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")


def connect(
    address: str | None, *, worker_groups: bool = False, dashboard: bool = False
) -> str | None:
    """Join the cluster at `address`, or start one on this machine's loopback.

    Returns the address of Ray's dashboard, or None where the cluster has none.

    A cluster that is started here for `worker_groups` has Ray's dashboard: Ray Train asks it who
    is alive, and without it never frees what a group held whose trial was killed.

    Raises:
        UsageError: there is no cluster at the address, or none can be started here.
    """
    if address is None:
        # Despite its name it holds on Linux too: a cluster of one machine stays on its loopback.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray  # noqa: PLC0415  the environment is read at import

    if ray.is_initialized():
        return None
    how: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is not None:
        _check_answers(address)
        how |= _joining(address)
    else:
        how |= {**_cluster_here(), "include_dashboard": worker_groups or dashboard}
    if address is None and worker_groups:
        port = _free_port()
        os.environ[_PORT] = str(port)
        how["runtime_env"] = {"env_vars": _told_apart(f"127.0.0.1:{port}")}
    try:
        url = ray.init(**how).dashboard_url
    except Exception as fault:  # Ray raises bare ones where a process of its own does not start.
        where = "cannot be started here" if address is None else f"cannot be joined at {address}"
        raise UsageError(f"Ray {where}: {fault}; --local runs without Ray") from fault
    finally:
        os.environ.pop(_PORT, None)
    if worker_groups and not url:
        ray.shutdown()
        raise UsageError(
            f"train.workers: given 2 or more; allowed on the cluster at {address}: 1, since it has "
            "no dashboard, and Ray Train frees no worker without asking it. Start the cluster's "
            "head with its dashboard (`ray start --head` has one unless another program has port "
            "8265: see --dashboard-port)"
        )
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    return f"http://{url}" if url else None


def _joining(address: str) -> dict[str, Any]:
    # The nodes of a cluster were started with an environment of their own.
    variables = dict(_ENVIRONMENT)
    if "://" not in address and address != "auto":
        variables |= _told_apart(address)
    return {"address": address, "runtime_env": {"env_vars": variables}}


def _told_apart(address: str) -> dict[str, str]:
    """For what frees a dead group's workers: else it may ask another cluster of its machine."""
    return {"RAY_ADDRESS": address}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def connected() -> Iterator[None]:
    """Be connected within the block, to a cluster started here unless there is a connection."""
    prepare_environment()
    import ray  # noqa: PLC0415

    was_connected = ray.is_initialized()
    connect(None)
    try:
        yield
    finally:
        if not was_connected:
            ray.shutdown()


def _cluster_here() -> dict[str, Any]:
    """How to start Ray on this machine: nothing that it would guess from a busy machine's state."""
    folder = temp_folder()
    return {
        # Else Ray would join whatever cluster was last started on this machine.
        "address": "local",
        "num_cpus": available_cpus(),
        "object_store_memory": _OBJECT_STORE_BYTES,
        # Else Ray asks how much is free, and refuses to start where file caches fill a container.
        "_memory": _MEMORY_BYTES,
        **({} if folder is None else {"_temp_dir": str(folder)}),
    }


def _check_answers(address: str) -> None:
    """Ray itself would try a dead address for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return  # "auto", or what Ray may understand
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except OSError as fault:
        raise UsageError(
            f"--address: given {address}; nothing answers there ({fault}): name the address of a "
            "running cluster, as `ray status` or `ray start` prints it, or leave it out"
        ) from fault
