"""Out of memory: told from other faults, and given back before the next attempt."""

from __future__ import annotations

import gc
from typing import Protocol

import torch

#: How the allocators that raise a plain RuntimeError begin or word it: torch's on a CPU, CUDA's
#: own calls beside torch's allocator, and the two libraries that allocate workspaces of their own.
_WORDINGS = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


class MemoryMeter(Protocol):
    """The memory of the device that this process trains on."""

    def total_bytes(self) -> int:
        """What the device has."""

    def begin(self) -> None:
        """Measure from here on."""

    def peak_bytes(self) -> int:
        """The most that this process has held since then, for tensors and between them."""


class CudaMemory:
    """The current CUDA device, as torch's allocator sees it."""

    def total_bytes(self) -> int:
        """What the device has."""
        return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory

    def begin(self) -> None:
        """Measure from here on."""
        release_memory()
        torch.cuda.reset_peak_memory_stats()

    def peak_bytes(self) -> int:
        """The most that the allocator has reserved since then."""
        return torch.cuda.max_memory_reserved()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of the host or of a GPU, could not be had."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDINGS)


def release_memory() -> None:
    """Give back what nothing refers to any more; call it outside of the `except` of the fault.

    An exception keeps the frames that it passed through, and with them the network.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
