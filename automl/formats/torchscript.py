"""`torchscript`: a traced program, for what still loads it. torch has deprecated TorchScript."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from automl.bundle.batched import Batch
from automl.formats.network import Network, Run
from automl.formats.torch_run import example, run_of

_IGNORED: tuple[tuple[str, type[Warning]], ...] = (
    # The note in `registry` is what the user is told instead.
    (r"`torch\.jit\.(trace|trace_method|save|load)` is deprecated", FutureWarning),
    (r"`torch\.jit\.(trace|trace_method|save|load)` is deprecated", DeprecationWarning),
    # torch.jit.TracerWarning: what depends on the image's size is fixed, as it should be.
    (".*might cause the trace to be incorrect", Warning),
    (".*registered as constants in the trace", Warning),
)


def write_torchscript(network: Network, path: Path, batch: Batch) -> None:
    """Trace one image; a trace takes any number of images unless its network fixes it."""
    del batch
    with _deprecation_ignored(), torch.no_grad():
        # torch traces a second time to compare; the file is compared with its source anyway.
        image_nchw = example(network, 1)
        traced = torch.jit.trace(network.torch(), image_nchw, check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, path)


def open_torchscript(path: Path) -> Run:
    """Load the program and run it in torch."""
    with _deprecation_ignored():
        return run_of(torch.jit.load(path, map_location="cpu"))  # type: ignore[no-untyped-call]


@contextmanager
def _deprecation_ignored() -> Iterator[None]:
    with warnings.catch_warnings():
        for message, category in _IGNORED:
            warnings.filterwarnings("ignore", message, category)
        yield
