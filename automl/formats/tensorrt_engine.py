"""`tensorrt`: an engine for the NVIDIA GPU of this machine; the only importer of tensorrt.

An engine runs on the kind of GPU and the version of TensorRT that it was built with, no others.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorrt
import torch
from numpy.typing import NDArray

from automl.bundle.batched import ANY, Batch
from automl.errors import TrialError
from automl.formats.network import Network, Run

#: Most images at once that an engine for any number takes; it is tuned for one.
_MOST = 8

_LOGGER = tensorrt.Logger(tensorrt.Logger.ERROR)


def write_tensorrt(network: Network, path: Path, batch: Batch) -> None:
    """Build an engine of the network's ONNX file for `batch` images: 1, or any number up to 8."""
    builder = tensorrt.Builder(_LOGGER)
    definition = builder.create_network(0)
    parser = tensorrt.OnnxParser(definition, _LOGGER)
    if not parser.parse(network.onnx(batch)):
        faults = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise TrialError(f"TensorRT cannot read the network: {faults}")
    profile = builder.create_optimization_profile()
    one, most = (1, 3, *network.size), (_MOST if batch == ANY else 1, 3, *network.size)
    profile.set_shape(definition.get_input(0).name, one, one, most)
    config = builder.create_builder_config()
    config.add_optimization_profile(profile)
    # TF32 rounds what float32 multiplies to 10 bits, more than the comparison allows.
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    engine = builder.build_serialized_network(definition, config)
    if engine is None:
        raise TrialError("TensorRT built no engine")
    path.write_bytes(bytes(engine))


def open_tensorrt(path: Path) -> Run:
    """Load the engine and run it on the first GPU."""
    engine = tensorrt.Runtime(_LOGGER).deserialize_cuda_engine(path.read_bytes())
    context = engine.create_execution_context()
    source, logits = engine.get_tensor_name(0), engine.get_tensor_name(1)

    def run(images_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
        images = torch.from_numpy(images_nchw).contiguous().cuda()
        context.set_input_shape(source, tuple(images.shape))
        result = torch.empty(tuple(context.get_tensor_shape(logits)), device="cuda")
        context.set_tensor_address(source, images.data_ptr())
        context.set_tensor_address(logits, result.data_ptr())
        context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
        torch.cuda.synchronize()
        logits_nkhw: NDArray[np.float32] = result.cpu().numpy()
        return logits_nkhw

    return run
