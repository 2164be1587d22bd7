"""`pte`: ExecuTorch with XNNPACK, for phones and boards; the only importer of executorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
from numpy.typing import NDArray

from automl.bundle.batched import Batch
from automl.formats.network import Network, Run
from automl.formats.torch_run import example, run_of


def write_executorch(network: Network, path: Path, batch: Batch) -> None:
    """Lower the network to XNNPACK, for `batch` = 1 image at a time."""
    assert batch == 1
    with torch.no_grad():
        program = torch.export.export(network.torch(), (example(network, 1),))
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        path.write_bytes(lowered.to_executorch().buffer)


def open_executorch(path: Path) -> Run:
    """Load the program and run it in ExecuTorch."""
    method = Runtime.get().load_program(path).load_method("forward")
    run = run_of(lambda images_nchw: method.execute([images_nchw])[0])

    def copied(images_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
        # The next call writes into the same memory.
        return run(images_nchw).copy()

    return copied
