"""Channel pruning: a network in, a narrower network out.

torch-pruning traces which channels hang together (Fang et al. 2023, DepGraph); how many go, and
which, is decided in `choice` by the scores of `importance`. By default the same share of every
group of coupled channels goes, the least important first: mean over the group's layers of the
squared weights of a channel.

Legend: N batch, C channels, H and W pixels.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from automl.compression.choice import MAX_RATIO, SHARES, ScoredGroup, least_important
from automl.compression.importance import SCORES, as_products
from automl.compression.rebuild import fit_to_state, regroup
from automl.errors import TrialError
from automl.models.build import SegmentationNet
from automl.space.pruning import ImportanceName, ScopeName

__all__ = ["PruningRule", "fit_to_state", "layer_widths", "prune"]

_REARRANGEMENTS = frozenset(
    {
        tp.ops.OPTYPE.RESHAPE,
        tp.ops.OPTYPE.SPLIT,
        tp.ops.OPTYPE.UNBIND,
        tp.ops.OPTYPE.SLICE,
        tp.ops.OPTYPE.EXPAND,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PruningRule:
    """How the channels that go are chosen: see `automl.space.pruning.PruningSettings`.

    The ratio counts from `full_widths` (`layer_widths` of the network before any pruning) where
    they are given, so that steps of pruning end where one would. `gradients` (`loss_gradients`) are
    what taylor needs.
    """

    importance: ImportanceName = "group_norm"
    scope: ScopeName = "layer"
    full_widths: Mapping[str, int] | None = None
    gradients: Mapping[str, Tensor] | None = None

    def __post_init__(self) -> None:
        if (self.importance == "taylor") != (self.gradients is not None):
            raise ValueError(
                f"taylor needs gradients, and it alone: got importance {self.importance} with "
                f"{'no gradients' if self.gradients is None else 'gradients'}"
            )


_DEFAULT_RULE = PruningRule()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Root:
    """The layer in which a group of coupled channels starts, and the group's scores."""

    layer: nn.Module
    group: ScoredGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """Channels that go, named by the layer in which their group starts."""

    root: nn.Module
    channels: list[int]


def prune(
    model: SegmentationNet, example_nchw: Tensor, ratio: float, rule: PruningRule = _DEFAULT_RULE
) -> SegmentationNet:
    """Give a copy of `model` that lacks about `ratio` of the channels of every layer.

    `example_nchw` is any batch of images of a size that the network takes, on its device; only
    its shape matters. Widths are rounded to the nearest multiple of 8, so layers of at most 8
    channels stay whole; so do those of attention, and grouped convolutions that are too narrow to
    lose channels of every group alike. A GroupNorm keeps the channels in a group instead of the
    number of groups, since channels could otherwise hardly go. The outputs of the head, the
    classes, stay. The same weights give the same result, and `model` is left as it was. Raises
    ValueError for a ratio outside [0, 0.9], TrialError where the network cannot be pruned.
    """
    if not 0 <= ratio <= MAX_RATIO:
        raise ValueError(f"ratio must be from 0 to {MAX_RATIO}, got {ratio}")
    pruned = copy.deepcopy(model)
    if ratio == 0:
        return pruned
    pruned.zero_grad(set_to_none=True)
    image_nchw = example_nchw[:1].detach()
    # In networks that it was not made for, torch-pruning fails with errors of all kinds.
    try:
        with torch.inference_mode(mode=False), torch.enable_grad():
            _narrow(pruned, image_nchw, ratio, rule)
        with torch.no_grad():
            logits_nkhw = pruned.eval()(image_nchw)
    except Exception as error:
        problem = "pruning: this network's layers cannot be narrowed; set pruning_ratio to 0"
        raise TrialError(f"{problem} ({type(error).__name__}: {error})") from error
    expected = (1, model.head.out_channels, *image_nchw.shape[2:])
    assert tuple(logits_nkhw.shape) == expected, "pruning changed the shape of the logits"
    _restore_flags(pruned, model)
    return pruned


def layer_widths(model: nn.Module) -> dict[str, int]:
    """The output channels of all layers that can be pruned, by name."""
    layers = model.named_modules()
    return {name: _out_channels(layer) for name, layer in layers if _is_root(layer)}


class _RegroupingNorm:
    """How torch-pruning narrows a GroupNorm: any channels may go, the groups are made anew."""

    pruning_dim = 1

    def prune_out_channels(self, layer: nn.GroupNorm, idxs: list[int]) -> nn.GroupNorm:
        gone = set(idxs)
        keep = torch.tensor([place for place in range(layer.num_channels) if place not in gone])
        regroup(layer, len(keep))
        if layer.affine:
            keep = keep.to(layer.weight.device)
            layer.weight = nn.Parameter(layer.weight.detach()[keep])
            layer.bias = nn.Parameter(layer.bias.detach()[keep])
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: nn.GroupNorm) -> int:
        return layer.num_channels

    get_in_channels = get_out_channels

    def get_out_channel_groups(self, layer: nn.GroupNorm) -> int:
        del layer
        return 1

    get_in_channel_groups = get_out_channel_groups


def _narrow(model: SegmentationNet, image_nchw: Tensor, ratio: float, rule: PruningRule) -> None:
    """Prune in place; leaves `model` in eval mode, with gradients on for all parameters."""
    graph = _trace(model, image_nchw)
    weighed = nullcontext() if rule.gradients is None else as_products(model, rule.gradients)
    with weighed:
        roots = list(_roots(model, graph, rule))
    # All are chosen before any goes, so that the order of the groups does not matter.
    for cut in _choose(graph, roots, ratio, rule):
        group = graph.get_pruning_group(cut.root, _out_pruning(graph, cut.root), cut.channels)
        if graph.check_pruning_group(group):
            group.prune()


def _trace(model: SegmentationNet, image_nchw: Tensor) -> Any:
    norms = {type(module) for module in model.modules() if isinstance(module, nn.GroupNorm)}
    # Only what has a gradient leaves a trace.
    model.requires_grad_(requires_grad=True)
    return tp.DependencyGraph().build_dependency(
        model,
        image_nchw,
        # Without it, the tracer first tries the images of the batch as arguments.
        forward_fn=lambda network, images: network(images),
        customized_pruners={kind: _RegroupingNorm() for kind in norms},
        verbose=False,
    )


def _choose(graph: Any, roots: list[_Root], ratio: float, rule: PruningRule) -> list[_Cut]:
    shares = SHARES[rule.scope]([root.group for root in roots], ratio)
    cuts = [
        _Cut(root=root.layer, channels=least_important(root.group, share))
        for root, share in zip(roots, shares, strict=True)
    ]
    return [cut for cut in cuts if cut.channels and _takes_no_others(graph, cut)]


def _roots(model: SegmentationNet, graph: Any, rule: PruningRule) -> Iterator[_Root]:
    """Walk over the groups of coupled channels, in the order of the layers."""
    score = SCORES[rule.importance]()
    done: set[nn.Module] = {model.head}
    for name, layer in model.named_modules():
        # A depthwise layer belongs to whatever feeds it: behind a concatenation, to several
        # groups. As a root it would rank these together and leave each off the grid.
        if layer in done or layer not in graph.module2node or not _is_root(layer):
            continue
        if _is_rearranged(graph, layer):
            continue
        everything = list(range(_out_channels(layer)))
        group = graph.get_pruning_group(layer, _out_pruning(graph, layer), everything)
        members = {
            item.dep.target.module
            for item in group
            if graph.is_out_channel_pruning_fn(item.dep.handler)
        }
        done |= members
        scores, blocks = score(group), _blocks(group)
        if model.head in members or scores is None or len(scores) % blocks:
            continue
        full = len(scores) if rule.full_widths is None else rule.full_widths[name]
        yield _Root(layer=layer, group=ScoredGroup(scores=scores, blocks=blocks, full_width=full))


def _is_root(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return not _is_depthwise(layer)
    return isinstance(layer, nn.Linear)


def _is_depthwise(layer: nn.Conv2d) -> bool:
    return layer.groups > 1 and layer.groups == layer.out_channels


def _is_rearranged(graph: Any, root: nn.Module) -> bool:
    """Whether channels that hang on those of `root` pass through a reshape or a split.

    As in attention: which channels belong together depends there on numbers that the graph does
    not hold. Only nodes are followed, each once: torch-pruning follows sets of channels, of which
    windowed attention makes more than fit into memory.
    """
    start = (graph.module2node[root], _out_pruning(graph, root))
    seen, waiting = {start}, [start]
    while waiting:
        node, pruning = waiting.pop()
        if node.type in _REARRANGEMENTS and not _is_harmless(node):
            return True
        for dependency in node.dependencies:
            step = (dependency.target, dependency.handler)
            if dependency.is_triggered_by(pruning) and step not in seen:
                seen.add(step)
                waiting.append(step)
    return False


def _is_harmless(node: Any) -> bool:
    """Whether a reshape leaves the channels alone.

    That of a bare parameter only adds dimensions for broadcasting; that in front of a linear
    layer's product only flattens the other dimensions.
    """
    if [source.type for source in node.inputs] == [tp.ops.OPTYPE.PARAMETER]:
        return True
    users = {user.grad_fn.name() for user in node.outputs if user.grad_fn is not None}
    return bool(users) and users <= {"AddmmBackward0", "MmBackward0"}


def _takes_no_others(graph: Any, cut: _Cut) -> bool:
    """Whether these channels can go alone: where a layer's channels hang on one another, no."""
    group = graph.get_pruning_group(cut.root, _out_pruning(graph, cut.root), cut.channels)
    return all(
        len(item.idxs) == len(cut.channels) for item in group if item.dep.target.module is cut.root
    )


def _blocks(group: Any) -> int:
    """In how many equal blocks grouped convolutions split the channels: all must shrink alike."""
    layers = (item.dep.target.module for item in group)
    grouped = [
        layer.groups
        for layer in layers
        if isinstance(layer, nn.Conv2d) and layer.groups > 1 and not _is_depthwise(layer)
    ]
    return math.lcm(*grouped)


def _out_pruning(graph: Any, layer: nn.Module) -> Any:
    return graph.get_pruner_of_module(layer).prune_out_channels


def _out_channels(layer: nn.Module) -> int:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    assert isinstance(layer, nn.Conv2d)
    return layer.out_channels


def _restore_flags(pruned: nn.Module, model: nn.Module) -> None:
    trainable = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    for name, parameter in pruned.named_parameters():
        parameter.requires_grad_(trainable[name])
    training = {name: module.training for name, module in model.named_modules()}
    for name, module in pruned.named_modules():
        module.training = training[name]
