"""Time a step of each optimizer beside forward and backward of a small batch, on one thread.

`python benchmarks/optimizers.py [ENCODER]` prints medians of interleaved rounds, and each step's
share of a forward and backward pass of 8 images of 96 x 96. `muon` is timm's, which `automl` does
not offer.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import timm.optim
import torch
from torch import nn
from torch.optim import Optimizer

from automl.models.build import build_model
from automl.records import ModelSpec
from automl.training.optimizers import OPTIMIZERS, build_optimizer

_ROUNDS = 7
_BATCH = (8, 3, 96, 96)


def main(encoder: str) -> None:
    torch.set_num_threads(1)
    spec = ModelSpec(encoder=encoder, decoder="fpn_lite", decoder_width=64)
    model = build_model(spec, num_classes=5, size=_BATCH[2:], seed=0)
    model.to(memory_format=torch.channels_last)
    images_nchw = torch.randn(_BATCH).to(memory_format=torch.channels_last)

    def both_ways() -> None:
        model.zero_grad(set_to_none=True)
        model(images_nchw).square().mean().backward()

    both_ways()
    optimizers = {name: build_optimizer(model, name, 1e-6, 0.0) for name in OPTIMIZERS}
    optimizers["muon"] = timm.optim.Muon(model.parameters(), lr=1e-6)
    calls: dict[str, Callable[[], object]] = {"pass": both_ways}
    calls |= {name: optimizer.step for name, optimizer in optimizers.items()}
    seconds = _interleaved(calls)
    print(f"{encoder}, fpn_lite, one thread, torch {torch.__version__}, timm {timm.__version__}")
    print(f"forward and backward of 8 images of 96 x 96: {1000 * seconds['pass']:.0f} ms")
    for name, optimizer in optimizers.items():
        share = seconds[name] / seconds["pass"]
        state = _state_size(optimizer) / _weight_size(model)
        print(
            f"{name:6} {1000 * seconds[name]:6.1f} ms a step, {share:.2f} of a pass; "
            f"state {state:.2f} x the weights"
        )


def _interleaved(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(_ROUNDS):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(taken) for name, taken in times.items()}


def _state_size(optimizer: Optimizer) -> int:
    states = [value for state in optimizer.state.values() for value in state.values()]
    return sum(value.numel() for value in states if isinstance(value, torch.Tensor))


def _weight_size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "mobilenetv3_large_100")
