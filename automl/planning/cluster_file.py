"""What a cluster file for `ray up` says of machines: which, on which market, and how many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Literal

import yaml

from automl.errors import UsageError
from automl.space.limits import is_number, nearest

Market = Literal["spot", "on_demand"]

#: The resource of the node that only times.
_PROBE = "latency_probe"
#: What Ray takes where the file says nothing.
_IDLE_MINUTES = 5.0
_MOST_WORKERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeType:
    """One of `available_node_types`; `where` names it in messages, by file and keys."""

    name: str
    where: str
    instance: str
    market: Market
    resources: Mapping[str, float]
    min_workers: int = 0
    max_workers: int = 0
    priority: int = 0
    is_head: bool = False

    @property
    def trains(self) -> bool:
        """Whether trials run on it."""
        has_devices = any(self.resources.get(name, 0) > 0 for name in ("CPU", "GPU"))
        return has_devices and _PROBE not in self.resources and not self.is_head

    @property
    def on_gpu(self) -> bool:
        """Whether trials run on its GPUs."""
        return self.resources.get("GPU", 0) > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFile:
    """The machines of a cluster; `region` is None where the file leaves it to be filled in."""

    path: Path
    provider: str
    region: str | None
    idle_timeout_s: float
    max_workers: int
    node_types: tuple[NodeType, ...]

    @property
    def head(self) -> NodeType:
        """The machine that runs the search."""
        return next(node for node in self.node_types if node.is_head)

    @property
    def standing(self) -> tuple[NodeType, ...]:
        """The machines that run from `ray up` to `ray down`, each as often as it does."""
        others = [n for n in self.node_types if not n.is_head and not n.trains]
        return (self.head, *(node for node in others for _ in range(node.min_workers)))

    def training(self, name: str | None) -> tuple[NodeType, ...]:
        """The node types that train on one kind of machine, preferred ones first.

        `name` chooses the kind where there are several. Raises UsageError where it does not, or
        where nothing trains.
        """
        found = sorted((n for n in self.node_types if n.trains), key=lambda n: -n.priority)
        if not found:
            raise UsageError(
                f"{self.path}: available_node_types: no worker has CPUs or GPUs for trials"
            )
        if name is not None and name not in {node.name for node in found}:
            names = [node.name for node in found]
            meant = nearest(name, names)
            hint = f"; did you mean {meant}?" if meant is not None else ""
            raise UsageError(f"--node-type: given {name!r}; allowed: {', '.join(names)}{hint}")
        kinds = {node.instance for node in found}
        if name is None and len(kinds) > 1:
            raise UsageError(
                f"{self.path}: trials may run on several kinds of machines "
                f"({', '.join(sorted(kinds))}), which one plan cannot mix: name a node type of one "
                f"of them with --node-type ({', '.join(node.name for node in found)})"
            )
        kind = found[0].instance if name is None else _named(found, name).instance
        return tuple(node for node in found if node.instance == kind)


def _named(nodes: list[NodeType], name: str) -> NodeType:
    return next(node for node in nodes if node.name == name)


def read_cluster_file(path: Path) -> ClusterFile:
    """Read the machines of a file for `ray up`; raises UsageError on what it does not say."""
    plain = _read(path)
    provider = _mapping(plain, "provider", f"{path}")
    kind = str(provider.get("type"))
    if kind not in _READERS:
        raise UsageError(f"{path}: provider.type: given {kind!r}; allowed: {', '.join(_READERS)}")
    head = plain.get("head_node_type")
    types = _mapping(plain, "available_node_types", f"{path}")
    if head not in types:
        raise UsageError(
            f"{path}: head_node_type: given {head!r}; allowed: one of {', '.join(map(str, types))}"
        )
    most = _number(plain, "max_workers", _MOST_WORKERS, f"{path}")
    nodes = [_node_type(path, types, str(name), kind, int(most)) for name in types]
    return ClusterFile(
        path=path,
        provider=kind,
        region=_region(provider),
        idle_timeout_s=60 * _number(plain, "idle_timeout_minutes", _IDLE_MINUTES, f"{path}"),
        max_workers=int(most),
        node_types=tuple(replace(node, is_head=node.name == head) for node in nodes),
    )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(plain, Mapping):
        raise UsageError(f"{path}: not a cluster file for `ray up`: it is no mapping")
    return plain


def _mapping(plain: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    found = plain.get(key)
    if not isinstance(found, Mapping):
        raise UsageError(f"{where}: {key}: missing, or no mapping")
    return found


def _number(plain: Mapping[str, Any], key: str, otherwise: float, where: str) -> float:
    found = plain.get(key, otherwise)
    if not is_number(found) or found < 0:
        raise UsageError(f"{where}: {key}: given {found!r}; allowed: a number >= 0")
    return float(found)


def _node_type(
    path: Path, types: Mapping[str, Any], name: str, provider: str, most: int
) -> NodeType:
    where = f"{path}: available_node_types.{name}"
    plain = _mapping(types, name, f"{path}: available_node_types")
    key, instance, market = _READERS[provider](_mapping(plain, "node_config", where))
    if not isinstance(instance, str) or not instance:
        raise UsageError(f"{where}.node_config.{key}: missing; allowed: the type of the machine")
    resources = _mapping(plain, "resources", where)
    return NodeType(
        name=name,
        where=f"{where}.node_config.{key}",
        instance=PurePosixPath(instance).name,
        market=market,
        resources={k: _number(resources, k, 0, f"{where}.resources") for k in resources},
        min_workers=int(_number(plain, "min_workers", 0, where)),
        max_workers=int(_number(plain, "max_workers", most, where)),
        priority=int(_number(plain, "priority", 0, where)),
    )


#: The key of the instance type, the type, and the market that a `node_config` names.
_Machine = tuple[str, object, Market]


def _aws(config: Mapping[str, Any]) -> _Machine:
    options = config.get("InstanceMarketOptions", {})
    is_spot = isinstance(options, Mapping) and options.get("MarketType") == "spot"
    return "InstanceType", config.get("InstanceType"), "spot" if is_spot else "on_demand"


def _gcp(config: Mapping[str, Any]) -> _Machine:
    scheduling = config.get("scheduling", {})
    is_spot = isinstance(scheduling, Mapping) and (
        scheduling.get("provisioningModel") == "SPOT" or scheduling.get("preemptible") is True
    )
    return "machineType", config.get("machineType"), "spot" if is_spot else "on_demand"


def _azure(config: Mapping[str, Any]) -> _Machine:
    given = config.get("azure_arm_parameters", {})
    parameters = given if isinstance(given, Mapping) else {}
    is_spot = str(parameters.get("priority", "")).lower() in ("spot", "low")
    key = "azure_arm_parameters.vmSize"
    return key, parameters.get("vmSize"), "spot" if is_spot else "on_demand"


_READERS: Mapping[str, Callable[[Mapping[str, Any]], _Machine]] = MappingProxyType(
    {"aws": _aws, "gcp": _gcp, "azure": _azure}
)


def _region(provider: Mapping[str, Any]) -> str | None:
    given = provider.get("region", provider.get("location"))
    return None if given is None or "FILL_IN" in str(given) else str(given)
