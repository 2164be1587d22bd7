import numpy as np
import pytest
import torch

from automl.errors import TrialError
from automl.training.memory import is_out_of_memory


def raised(fault):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        fault()
    return caught.value


@pytest.mark.parametrize(
    "fault",
    [
        lambda: torch.empty(2**55, dtype=torch.uint8),  # torch's own allocator, really asked
        lambda: np.empty(2**60, dtype=np.uint8),
        lambda: bytearray(2**60),
    ],
    ids=["torch", "numpy", "python"],
)
def test_real_refusals_of_memory_are_known(fault):
    assert is_out_of_memory(raised(fault))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_those_of_a_gpu_too(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("size mismatch"), TrialError("can't allocate memory"), OSError(12, "memory")],
)
def test_other_faults_are_other_faults(error):
    assert not is_out_of_memory(error)
