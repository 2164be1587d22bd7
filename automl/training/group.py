"""The group of processes that torchrun started, joined and left.

torchrun tells each process its place in environment variables (`RANK`, `WORLD_SIZE`, `LOCAL_RANK`,
`LOCAL_WORLD_SIZE`, and where the group meets). Ray Train starts groups of its own, so nothing here
concerns it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from automl.errors import UsageError
from automl.training.ranks import compute_device

#: While the first rank imports a dataset or exports a network, the others wait for it; where a
#: rank is lost, torchrun ends the others.
_PATIENCE = timedelta(hours=24)

_PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_MEETING = ("MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchedRank:
    """The place of this process among those launched together, on all machines and on its own."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int


def launched_rank(environment: Mapping[str, str] | None = None) -> LaunchedRank | None:
    """Where torchrun put this process; None for a process that was started alone.

    Raises UsageError where the environment names a place, but only in part.
    """
    found = os.environ if environment is None else environment
    if "TORCHELASTIC_RUN_ID" not in found and not set(_PLACE[:2]) <= found.keys():
        return None
    missing = [name for name in (*_PLACE, *_MEETING) if name not in found]
    if missing:
        raise UsageError(
            f"the environment names a group of processes, but not {', '.join(missing)}: start it "
            "with torchrun, or unset RANK and WORLD_SIZE"
        )
    rank, world_size, local_rank, local_world_size = (int(found[name]) for name in _PLACE)
    return LaunchedRank(
        rank=rank,
        world_size=world_size,
        local_rank=local_rank,
        local_world_size=local_world_size,
    )


def _attempt() -> str:
    """What tells the group that torchrun has started again from the one that died.

    On one machine both meet in the same store, and the new one would find the addresses of the
    dead. Several machines count restarts each for itself, so there the count says nothing.
    """
    launched = launched_rank()
    if launched is None or launched.local_world_size != launched.world_size:
        return "attempt"
    return f"attempt{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"


@contextmanager
def joined() -> Iterator[None]:
    """Be part of the launched group: gloo for what is on a CPU, NCCL for what is on a GPU."""
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(compute_device("cuda"))
    store, rank, world_size = next(rendezvous("env://", timeout=_PATIENCE))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        store=PrefixStore(_attempt(), store),
        rank=rank,
        world_size=world_size,
        timeout=_PATIENCE,
    )
    try:
        yield
    finally:
        dist.destroy_process_group()
