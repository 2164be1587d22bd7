"""`pt2`: the program of `torch.export`, for torch itself and for compilers that start from it.

torch keeps the weights of a plain network as raw bytes and its graph as JSON. A file made by others
may hold pickles, and `torch.export.load` opens those without a question: load what you trust.
"""

from __future__ import annotations

from pathlib import Path

import torch

from automl.bundle.batched import ANY, Batch
from automl.formats.network import Network, Run
from automl.formats.torch_run import example, run_of

#: Largest number of images that the program promises to take at once.
_MOST = 1024


def write_exported_program(network: Network, path: Path, batch: Batch) -> None:
    """Export for `batch` images: 1, or any number up to 1024."""
    # Two images: an axis of length 1 would be taken for one that is always 1.
    images_nchw = example(network, 2 if batch == ANY else 1)
    count = {0: torch.export.Dim("N", min=1, max=_MOST)} if batch == ANY else {}
    with torch.no_grad():
        program = torch.export.export(network.torch(), (images_nchw,), dynamic_shapes=(count,))
    torch.export.save(program, path)


def open_exported_program(path: Path) -> Run:
    """Load the program and run it in torch."""
    return run_of(torch.export.load(path).module())
