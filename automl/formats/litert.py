"""`tflite`: LiteRT, formerly TensorFlow Lite; the only importer of litert_torch and its runtime."""

from __future__ import annotations

from pathlib import Path

import litert_torch
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from automl.bundle.batched import Batch
from automl.formats.network import Network, Run
from automl.formats.torch_run import example


def write_litert(network: Network, path: Path, batch: Batch) -> None:
    """Convert the network for `batch` = 1 image at a time; its input stays (1, 3, h, w)."""
    assert batch == 1
    litert_torch.convert(network.torch(), (example(network, 1),)).export(str(path))


def open_litert(path: Path) -> Run:
    """Load the file and run it on one thread."""
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    logits = interpreter.get_output_details()[0]["index"]

    def run(images_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_tensor(source, images_nchw)
        interpreter.invoke()
        logits_nkhw: NDArray[np.float32] = interpreter.get_tensor(logits)
        return logits_nkhw

    return run
