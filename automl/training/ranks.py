"""The ranks that train one model together; without a process group there is one rank.

Collectives run only where `torch.distributed` is initialised, by whoever started the processes
(Ray Train, torchrun, a test). Every rank must reach every collective in the same order.
"""

from __future__ import annotations

import os
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from automl.errors import UsageError

T = TypeVar("T")


def world_size() -> int:
    """The number of ranks."""
    return dist.get_world_size() if _grouped() else 1


def global_rank() -> int:
    """The index of this process among the ranks; rank 0 writes and decides."""
    return dist.get_rank() if _grouped() else 0


def sum_over_ranks(values: Tensor) -> Tensor:
    """The elementwise sum over the ranks, on every rank; no gradient flows through it."""
    values = values.detach()
    if world_size() == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total


def gather_over_ranks(values: Tensor) -> list[Tensor]:
    """What each rank has, in their order, on every rank; no gradient flows through it.

    The first dimension may differ from rank to rank.
    """
    values = values.detach()
    ranks = world_size()
    if ranks == 1:
        return [values]
    lengths = [torch.zeros(1, dtype=torch.int64, device=values.device) for _ in range(ranks)]
    dist.all_gather(lengths, torch.full_like(lengths[0], len(values)))
    counts = [int(length) for length in lengths]
    padded = values.new_zeros((max(counts), *values.shape[1:]))
    padded[: len(values)] = values
    found = [torch.empty_like(padded) for _ in range(ranks)]
    dist.all_gather(found, padded)
    return [part[:count] for part, count in zip(found, counts, strict=True)]


def from_first_rank(value: T) -> T:
    """The value that rank 0 holds, on every rank. It travels as a pickle between the ranks."""
    if world_size() == 1:
        return value
    carrier = [value]
    dist.broadcast_object_list(carrier, src=0)
    return carrier[0]


def over_ranks(module: nn.Module, *, held_back: bool) -> nn.Module:
    """`module`, with rank 0's values on every rank, and gradients that are means over the ranks.

    `held_back` says that some backward passes will only add up gradients, under `no_sync`.
    """
    if world_size() == 1:
        return module
    # What the first backward pass finds of the graph holds for all: they differ in values alone.
    # Under `no_sync` PyTorch fails to find it (pytorch/pytorch#187732).
    wrapped = DistributedDataParallel(
        module, gradient_as_bucket_view=True, static_graph=not held_back
    )
    # No step reads a buffer of rank 0, so ranks need not wait for it; `share_buffers` follows.
    wrapped.broadcast_buffers = False
    return wrapped


def share_buffers(module: nn.Module) -> None:
    """Give every rank rank 0's buffers, such as the running statistics of batch norms.

    No step does so: each rank keeps statistics of its own until they are shared.
    """
    if world_size() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


def compute_device(name: str) -> torch.device:
    """Turn `auto`, `cpu` or `cuda` into the device of this rank; raises UsageError.

    `LOCAL_RANK`, which torchrun and Ray Train set, picks among several visible GPUs.
    """
    if name not in {"auto", "cpu", "cuda"}:
        raise UsageError(f"device: given {name!r}; allowed auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("device: given 'cuda', but torch sees no CUDA device; allowed auto, cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    local_rank = os.environ.get("LOCAL_RANK")
    if local_rank is None:
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cuda", int(local_rank) % torch.cuda.device_count())


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized()
