"""The formats by name. A runtime's library is imported when its format is used, not before."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from automl.bundle.batched import ANY, Batch
from automl.errors import UsageError
from automl.formats.exported_program import open_exported_program, write_exported_program
from automl.formats.network import Network, Run
from automl.formats.torchscript import open_torchscript, write_torchscript

Write = Callable[[Network, Path, Batch], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A file format: how it is written and run, from what, and what it takes.

    `batches` are the numbers of images to write it for, the best first. `libraries` are the modules
    that it needs, `packages` the installed packages to name the versions of, and `install` says how
    to get them.
    """

    file: str
    write: Write
    open: Callable[[Path], Run]
    batches: tuple[Batch, ...]
    needs_module: bool
    libraries: tuple[str, ...] = ()
    packages: tuple[str, ...]
    install: str = ""
    needs_gpu: bool = False
    note: str = ""

    def absence(self) -> str | None:
        """Why it cannot be written on this machine; None where it can."""
        missing = [name for name in self.libraries if importlib.util.find_spec(name) is None]
        if missing or (self.needs_gpu and not torch.cuda.is_available()):
            return f"needs {self.install}"
        return None


def _write_openvino(network: Network, path: Path, batch: Batch) -> None:
    from automl.bundle.openvino_runtime import write_ir  # noqa: PLC0415 (an extra)

    write_ir(network.onnx(batch), path)


def _open_openvino(path: Path) -> Run:
    from automl.bundle.openvino_runtime import open_ir  # noqa: PLC0415 (an extra)

    return open_ir(path, threads=1)


def _write_litert(network: Network, path: Path, batch: Batch) -> None:
    from automl.formats.litert import write_litert  # noqa: PLC0415 (not a dependency)

    write_litert(network, path, batch)


def _open_litert(path: Path) -> Run:
    from automl.formats.litert import open_litert  # noqa: PLC0415 (not a dependency)

    return open_litert(path)


def _write_executorch(network: Network, path: Path, batch: Batch) -> None:
    from automl.formats.executorch_xnnpack import write_executorch  # noqa: PLC0415 (an extra)

    write_executorch(network, path, batch)


def _open_executorch(path: Path) -> Run:
    from automl.formats.executorch_xnnpack import open_executorch  # noqa: PLC0415 (an extra)

    return open_executorch(path)


def _write_tensorrt(network: Network, path: Path, batch: Batch) -> None:
    from automl.formats.tensorrt_engine import write_tensorrt  # noqa: PLC0415 (not a dependency)

    write_tensorrt(network, path, batch)


def _open_tensorrt(path: Path) -> Run:
    from automl.formats.tensorrt_engine import open_tensorrt  # noqa: PLC0415 (not a dependency)

    return open_tensorrt(path)


#: All formats, in the order in which they are written.
FORMATS: Mapping[str, Format] = {
    "openvino": Format(
        file="model.xml",
        write=_write_openvino,
        open=_open_openvino,
        batches=(ANY, 1),
        needs_module=False,
        libraries=("openvino",),
        packages=("openvino",),
        install="OpenVINO (pip install 'automl[openvino]')",
    ),
    "pt2": Format(
        file="model.pt2",
        write=write_exported_program,
        open=open_exported_program,
        batches=(ANY, 1),
        needs_module=True,
        packages=("torch",),
    ),
    "torchscript": Format(
        file="model.torchscript.pt",
        write=write_torchscript,
        open=open_torchscript,
        batches=(ANY, 1),
        needs_module=True,
        packages=("torch",),
        note="torch has deprecated TorchScript: prefer pt2 where you can",
    ),
    "tflite": Format(
        file="model.tflite",
        write=_write_litert,
        open=_open_litert,
        batches=(1,),
        needs_module=True,
        libraries=("litert_torch", "ai_edge_litert"),
        packages=("litert-torch", "ai-edge-litert", "torch"),
        install="LiteRT (pip install litert-torch, see docs/formats.md on its pins)",
    ),
    "pte": Format(
        file="model.pte",
        write=_write_executorch,
        open=_open_executorch,
        batches=(1,),
        needs_module=True,
        libraries=("executorch",),
        packages=("executorch", "torch"),
        install="ExecuTorch (pip install 'automl[executorch]')",
    ),
    "tensorrt": Format(
        file="model.engine",
        write=_write_tensorrt,
        open=_open_tensorrt,
        batches=(ANY, 1),
        needs_module=False,
        libraries=("tensorrt",),
        packages=("tensorrt",),
        install="an NVIDIA GPU and tensorrt (pip install tensorrt)",
        needs_gpu=True,
    ),
}

#: What stands for every format that can be written here.
ALL = "all"


def wanted_formats(given: str) -> tuple[str, ...]:
    """The names in a list such as `openvino,pt2`, each once; raises UsageError."""
    words = tuple(dict.fromkeys(word.strip() for word in given.split(",")))
    if words == (ALL,):
        return tuple(FORMATS)
    unknown = [word for word in words if word not in FORMATS]
    if unknown:
        raise UsageError(
            f"--to: no format {', '.join(map(repr, unknown))}; allowed: {ALL}, or some of "
            f"{', '.join(FORMATS)}, separated by commas"
        )
    return words
