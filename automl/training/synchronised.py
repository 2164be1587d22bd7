"""Batch norms that take the statistics of the batch over all ranks.

Nothing is put in a norm's place: while the network trains, its calls of `F.batch_norm` in training
mode are answered here. So modules, weights and names stay as they are, and whatever else a norm's
class does after it (timm's `BatchNormAct2d` drops and activates) is done as ever. Norms at rest,
the average of the weights and whatever is scored are in evaluation mode and not concerned.

Source: Ioffe & Szegedy 2015 (arXiv:1502.03167), algorithm 1 and the gradients of section 3, with
each sum taken over all ranks. `torch.nn.SyncBatchNorm` is the same for CUDA alone.

Shapes: N batch, C channels, H and W pixels; N may differ from rank to rank.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from automl.training.precision import at_least_float32
from automl.training.ranks import global_rank, sum_over_ranks, world_size

_PIXELS = (0, 2, 3)


@contextmanager
def synchronised(model: nn.Module) -> Iterator[None]:
    """Have the batch norms of what trains in the block take the statistics of all ranks' parts.

    Every rank must call the same norms in the same order. Raises TypeError for a norm of `model`
    with running statistics that it does not know. One rank alone has the whole batch anyway.
    """
    others = [
        f"{name} ({type(module).__name__})"
        for name, module in model.named_modules()
        if getattr(module, "running_var", None) is not None and not _is_known(module)
    ]
    if others:
        raise TypeError(
            "train.sync_batch_norm knows nn.BatchNorm2d and what is made from it, and not "
            f"{', '.join(others)}"
        )
    if world_size() == 1:
        yield
        return
    with _SharingStatistics():
        yield


def batch_norms(model: nn.Module) -> Mapping[str, nn.Module]:
    """The norms that `synchronised` knows, by name."""
    return {name: module for name, module in model.named_modules() if _is_known(module)}


def unsynchronised_norms(model: nn.Module) -> list[str]:
    """The batch norms that take the statistics of their own rank's part; all ranks must ask.

    It is copies that are asked, with a part that differs from rank to rank.
    """
    wanted = 1 / world_size()
    means = {name: _mean_seen(norm) for name, norm in batch_norms(model).items()}
    return [
        name for name, mean in means.items() if not torch.allclose(mean, mean.new_tensor(wanted))
    ]


def _mean_seen(norm: nn.Module) -> Tensor:
    """The mean (C,) that a batch norm finds where rank 0 has ones and all others zeros."""
    probe = copy.deepcopy(norm).train()
    assert isinstance(probe, nn.BatchNorm2d)
    assert probe.running_mean is not None
    probe.reset_running_stats()
    probe.momentum = None  # torch's way to ask for the plain mean
    part_nchw = probe.running_mean.new_full((1, probe.num_features, 1, 2), global_rank() == 0)
    with torch.no_grad():
        probe(part_nchw)
    return probe.running_mean


def _is_known(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d) and module.running_var is not None


class _SharingStatistics(TorchFunctionMode):
    """Answers `F.batch_norm` in training mode."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = {} if kwargs is None else kwargs
        if func is F.batch_norm:
            return shared_batch_norm(*args, **named)
        return func(*args, **named)


def shared_batch_norm(  # noqa: PLR0913, PLR0917  the signature is F.batch_norm's
    input: Tensor,  # noqa: A002  as F.batch_norm names it
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,  # noqa: FBT001, FBT002  as in F.batch_norm
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """What `F.batch_norm` gives this rank's part (N, C, H, W) of the batch of all ranks.

    Running statistics move by the mean and the unbiased variance of that batch.
    """
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    mean, var, count = _statistics(input.detach())
    if running_mean is not None and running_var is not None:
        unbiased = var * (count / (count - 1).clamp_min(1))
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    normed: Tensor = _Normalised.apply(input, weight, bias, mean, var, count, eps)
    return normed


def _statistics(part_nchw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance (C,) over all ranks, at least in fp32, and the count (1,) of their values.

    Sums travel in fp64, so that the square of the mean leaves no rounding in the variance.
    """
    values = at_least_float32(part_nchw)
    own = values.numel() // values.shape[1]
    if own:
        own_var, own_mean = torch.var_mean(values, dim=_PIXELS, correction=0)
    else:
        own_var = own_mean = values.new_zeros(values.shape[1])
    own_mean, own_var = own_mean.double(), own_var.double()
    sums = torch.cat([own * own_mean, own * (own_var + own_mean**2), own_mean.new_tensor([own])])
    sums = sum_over_ranks(sums)
    count = sums[-1:]
    mean, square = (sums[:-1] / count).chunk(2)
    var = (square - mean**2).clamp_min(0)
    return mean.to(values.dtype), var.to(values.dtype), count.to(values.dtype)


class _Normalised(torch.autograd.Function):
    """`weight * (x - mean) / sqrt(var + eps) + bias`, mean and variance those of all ranks' x."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917  autograd gives all inputs one by one
        ctx: Any,
        part_nchw: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        count: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(part_nchw, weight, mean, torch.rsqrt(var + eps), count)
        # In evaluation mode it takes the statistics that it is given.
        return F.batch_norm(part_nchw, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_nchw: Tensor) -> tuple[Tensor | None, ...]:
        part_nchw, weight, mean, inverse_std, count = ctx.saved_tensors
        gradient = at_least_float32(gradient_nchw)
        normal = (at_least_float32(part_nchw) - _by_channel(mean)) * _by_channel(inverse_std)
        # Those of weight and bias: this rank's, which whoever averages gradients adds up.
        of_bias = gradient.sum(_PIXELS)
        of_weight = (gradient * normal).sum(_PIXELS)
        of_part = None
        if ctx.needs_input_grad[0]:
            sums = sum_over_ranks(torch.cat([of_bias, of_weight]).double())
            through_mean, through_var = (sums / count).to(gradient.dtype).chunk(2)
            scale = inverse_std if weight is None else inverse_std * weight
            of_part = gradient - _by_channel(through_mean) - normal * _by_channel(through_var)
            of_part = (of_part * _by_channel(scale)).to(part_nchw.dtype)
        return (
            of_part,
            of_weight if ctx.needs_input_grad[1] else None,
            of_bias if ctx.needs_input_grad[2] else None,
            None,
            None,
            None,
            None,
        )


def _by_channel(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)
