"""The manner of training: what may change its speed, and its last bits, but not what is learnt."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

#: How images and weights lie in memory; channels-last is faster nearly always.
LAYOUTS: Mapping[str, torch.memory_format] = MappingProxyType(
    {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
)

#: cuBLAS is repeatable only with workspaces of fixed size, which it reads from the environment.
#: Source: PyTorch, "Reproducibility", and the documentation of `use_deterministic_algorithms`.
_CUBLAS = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How the network runs while it trains.

    `layout` is one of `LAYOUTS`; `compiled` has torch.compile make kernels of the forward pass in
    training mode, without a graph break; `deterministic` lets no operation run whose result may
    differ from run to run: torch raises an error that names it.
    """

    layout: str = "channels_last"
    compiled: bool = False
    deterministic: bool = False

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {self.layout!r}")


#: What is trained with where nothing is declared.
AS_USUAL = Manner()


@contextmanager
def in_manner(model: nn.Module, manner: Manner) -> Iterator[None]:
    """Have `model` compiled and torch deterministic where the manner says so, then as before.

    The layout is for `on_device` to set.
    """
    with ExitStack() as stack:
        if manner.deterministic:
            stack.enter_context(_deterministic())
        if manner.compiled:
            stack.enter_context(_compiled(model))
        yield


def is_compiled(model: nn.Module) -> bool:
    """Whether calls of `model` run compiled kernels."""
    return getattr(model, "_compiled_call_impl", None) is not None


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """Have calls of `model` run as written: another mode or size would be compiled anew."""
    compiled = getattr(model, "_compiled_call_impl", None)
    if compiled is None:
        yield
        return
    model._compiled_call_impl = None  # noqa: SLF001  what nn.Module.compile sets
    try:
        yield
    finally:
        model._compiled_call_impl = compiled  # noqa: SLF001


@contextmanager
def _compiled(model: nn.Module) -> Iterator[None]:
    model.compile(fullgraph=True, dynamic=False)
    try:
        yield
    finally:
        model._compiled_call_impl = None  # noqa: SLF001


@contextmanager
def _deterministic() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    name, value = _CUBLAS
    workspace = os.environ.get(name)
    torch.use_deterministic_algorithms(mode=True)
    torch.backends.cudnn.benchmark = False
    os.environ.setdefault(name, value)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warns)
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            del os.environ[name]
