"""What dynamic quantization does to convolutions and to linear layers, side by side.

    python benchmarks/dynamic_quantization.py

Networks with random weights at 256 x 192 (speed does not depend on weights): a convolutional and
an attention encoder. Each in float32, with dynamic INT8 (ONNX Runtime's `quantize_dynamic`, no
calibration) of its convolutions or of its linear layers, and with static INT8 of this project.
Times are CPU time of 1 thread, interleaved; the error is the mean difference of logits as a share
of their mean size. PyTorch's `quantize_dynamic` is asked as well: how many modules it replaces.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from automl.bundle.network import export_network
from automl.bundle.runtime import open_core
from automl.compression.quantize import quantize_int8, quiet
from automl.measurement.latency import time_interleaved
from automl.models.build import build_model
from automl.records import ModelSpec

SIZE = (192, 256)
NETWORKS = ("efficientnet_lite0", "pvt_v2_b0")
OPERATORS = {"dynamic, convolutions": ["Conv"], "dynamic, linear layers": ["MatMul", "Gemm"]}


def main() -> None:
    warnings.simplefilter("ignore")
    for encoder in NETWORKS:
        with tempfile.TemporaryDirectory() as scratch:
            compare(encoder, Path(scratch))


def compare(encoder: str, folder: Path) -> None:
    spec = ModelSpec(encoder=encoder, decoder="fpn_lite", decoder_width=64)
    model = build_model(spec, num_classes=11, size=SIZE, seed=0).eval()
    files = {"float32": folder / "core.onnx"}
    export_network(model, size=SIZE, path=files["float32"])
    prepared = folder / "prepared.onnx"
    quant_pre_process(files["float32"], prepared, skip_symbolic_shape=True)
    for name, operators in OPERATORS.items():
        files[name] = folder / f"{name}.onnx"
        with quiet():
            quantize_dynamic(prepared, files[name], op_types_to_quantize=operators)
    files["static"] = folder / "static.onnx"
    random = np.random.default_rng(0)
    images = [random.normal(size=(1, 3, *SIZE)).astype(np.float32) for _ in range(8)]
    quantize_int8(files["float32"], files["static"], iter(images))
    sessions = {name: open_core(path, threads=1) for name, path in files.items()}
    runs = {name: lambda s=session: s.run(images[0]) for name, session in sessions.items()}
    stats = time_interleaved(runs, rounds=25, warmup=3, seed=0)
    exact = sessions["float32"].run(images[0])
    print(f"{encoder}: {replaced_by_torch(model)}")
    print(f"  {'':<24}{'CPU ms':>8}{'speed':>8}{'MB':>7}{'error':>8}")
    for name, session in sessions.items():
        error = np.abs(session.run(images[0]) - exact).mean() / np.abs(exact).mean()
        ratio = stats["float32"].cpu_p50_ms / stats[name].cpu_p50_ms
        size_mb = files[name].stat().st_size / 1e6
        ms = stats[name].cpu_p50_ms
        print(f"  {name:<24}{ms:>8.2f}{ratio:>7.2f}x{size_mb:>7.2f}{error:>8.4f}", flush=True)


def replaced_by_torch(model: nn.Module) -> str:
    """How many modules PyTorch's dynamic quantization replaces, of those that hold weights."""
    kinds = {nn.Conv2d, nn.Linear}
    present = {kind.__name__: sum(type(m) is kind for m in model.modules()) for kind in kinds}
    quantize = torch.ao.quantization.quantize_dynamic
    changed = quantize(model, kinds, dtype=torch.qint8)  # type: ignore[no-untyped-call]
    left = {kind.__name__: sum(type(m) is kind for m in changed.modules()) for kind in kinds}
    told = [f"{present[name] - left[name]} of {present[name]} {name}" for name in sorted(present)]
    return f"torch.ao.quantization.quantize_dynamic replaces {', '.join(told)}"


if __name__ == "__main__":
    main()
