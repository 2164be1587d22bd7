"""Out of memory: told from other faults, and given back before the next attempt."""

from __future__ import annotations

import gc

import torch

#: How the allocators that raise a plain RuntimeError begin or word it: torch's on a CPU, CUDA's
#: own calls beside torch's allocator, and the two libraries that allocate workspaces of their own.
_WORDINGS = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


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
