"""Why no trial fits on a cluster, and what would change that, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from automl.planning.groups import Group, Resources, most_workers
from automl.space.training import Placement

_WHERE: Mapping[Placement, str] = MappingProxyType(
    {
        "pack": "anywhere",
        "spread": "anywhere",
        "strict_pack": "all on one node",
        "strict_spread": "each on another node",
    }
)


def why_none_fits(nodes: Sequence[Resources], group: Group) -> str:
    """What a trial asks for, what there is, and what to change."""
    most = most_workers(nodes, group)
    return (
        f"train.workers: given {group.workers}; allowed here: at most {most}, "
        f"the {group.kind}s of this Ray cluster: a trial takes {asked_of(group, 1)}; "
        f"{offered_by(nodes, group)}. {_remedy(group, most)}"
    )


def asked_of(group: Group, threads: int) -> str:
    """What a trial with so many threads a worker takes, and where."""
    each = _amounts(group.worker(threads))
    if group.workers == 1:
        return each
    where = f"{_WHERE[group.placement]} (train.placement: {group.placement})"
    return f"{group.workers} x {each}, {where}"


def offered_by(nodes: Sequence[Resources], group: Group) -> str:
    """The largest node, and all together."""
    kinds = ["CPU", "GPU"] if group.gpus > 0 else ["CPU"]
    if not nodes:
        return "there is no node for trials"
    rows = [{kind: node.get(kind, 0.0) for kind in reversed(kinds)} for node in nodes]
    largest = max(rows, key=lambda row: tuple(row.values()))
    total = {kind: sum(row[kind] for row in rows) for kind in largest}
    count = f"{len(nodes)} node{'s' if len(nodes) > 1 else ''}"
    return f"the largest of {count} has {_amounts(largest)}, all together {_amounts(total)}"


def _remedy(group: Group, most: int) -> str:
    ways = []
    if 0 < most < group.workers:
        ways.append(f"use --workers-per-trial {most} or fewer")
    if group.placement.startswith("strict_"):
        ways.append(f"let train.placement be {group.placement.removeprefix('strict_')}")
    ways.append("start larger nodes" if group.placement == "strict_pack" else "start more nodes")
    if group.gpus > 0:
        ways.append("train on CPUs (train.device: cpu)")
    *first, last = ways
    text = f"{', '.join(first)}, or {last}" if first else last
    return text[0].upper() + text[1:]


def _amounts(resources: Resources) -> str:
    """`1 GPU and 8 CPUs`, in the order given."""
    parts = [f"{n:.3g} {kind}{'' if n <= 1 and n > 0 else 's'}" for kind, n in resources.items()]
    return " and ".join(parts)
