"""All that a user declares about a search, checked once. Every section but `space` has defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from automl.fidelity import Fidelity, rung_epochs
from automl.records import Objective, Scalar, short_hash
from automl.resize import Resize, ResizeMode
from automl.space.compression import CompressSettings, RuntimeName, int8_key, rung_faults
from automl.space.exporting import ExportSettings
from automl.space.faults import Fault, FaultsError
from automl.space.fidelity import FidelitySettings, fidelity_faults
from automl.space.fields import (
    Budget,
    Concurrency,
    Constraints,
    DeclaredPolicies,
    Objectives,
    Points,
    Side,
    Space,
    parse_points,
    seconds_of,
)
from automl.space.policies.declaration import parse_policies
from automl.space.policies.policy import Policy
from automl.space.policies.searched import (
    resolved_policy,
    space_with_policies,
    where_declared,
)
from automl.space.pydantic_faults import faults_of, raise_faults
from automl.space.screening import Screen
from automl.space.search_space import SearchSpace, point_faults
from automl.space.strict import Count, Positive
from automl.space.strict import Settings as _Settings
from automl.space.training import TRAIN_BEFORE, WITHOUT_EFFECT_ON_RESULTS, TrainSettings

DEFAULT_OBJECTIVES = (
    Objective(metric="miou", direction="maximize"),
    Objective(metric="latency_ms", direction="minimize"),
)

#: What of `search` may change between two runs of one study.
_FREE_TO_CHANGE = (
    "trials",
    "time_budget",
    "device_hours",
    "stop_when",
    "concurrent",
    "max_failures",
)


#: What of `search` decides how many rungs there are, and what is trained up to each.
_RUNGS = frozenset({"min_epochs", "eta", "fidelity"})


class DataSettings(_Settings):
    """The images, and how they are imported."""

    source: str = Field(default="builtin:surface-defects", min_length=1)
    """A dataset's folder, or builtin:surface-defects (generated)."""
    size: tuple[Side, Side] = (96, 96)
    """[height, width] in pixels at which models train and run; multiples of 32."""
    resize: ResizeMode = "stretch"
    """How images come to that size. stretch: the ratio of their sides is lost. letterbox: it is
    kept, and the rest is padded; padding neither trains nor scores."""
    split_seed: int = Field(default=0, ge=0)
    """Seed of the split, for folders that have none."""

    @property
    def fit(self) -> Resize:
        """The resize of an import, which chooses the colour of padding."""
        return Resize(mode=self.resize)


class StopWhen(_Settings):
    """When a search has found enough, and tries no new configuration."""

    front_unchanged_for: Count | None = None
    """So many trials in a row have not changed the front; null: never."""


class SearchSettings(_Settings):
    """How many trials, proposed how, and how early they may be paused."""

    trials: Count = 12
    """Configurations to try; the first is always the default of the space."""
    sampler: Literal["auto", "tpe", "nsga2", "nsga3", "gp", "random", "qmc"] = "auto"
    """What proposes them.

    auto: gp up to 200 trials, tpe up to 1000, nsga2 beyond, qmc where there are too few to learn
    from or enough to try all. gp learns most from few trials and takes up to a second a proposal;
    tpe learns from few, too; nsga2 and nsga3 (three objectives or more) need hundreds; random and
    qmc (spread evenly) never learn.
    """
    min_epochs: Count = 1
    """Epochs before trials are compared for the first time; then eta times as many, and so on."""
    eta: Annotated[int, Field(ge=2)] = 3
    """At each comparison one trial in eta goes on; the others wait, and may be promoted later."""
    fidelity: FidelitySettings = FidelitySettings()
    """Whether trials train on less, and at a smaller size, up to each comparison; {}: never. Off by
    default: over 8 networks it ranked about as well as full training cut short to take as long."""
    seed: int = Field(default=0, ge=0)
    """Seed of all proposals and trainings."""
    time_budget: Budget = None
    device_hours: Positive | None = None
    """Longest time to search, in hours of all devices that train together; null: no limit."""
    stop_when: StopWhen = StopWhen()
    concurrent: Concurrency = "auto"
    max_failures: int = Field(default=1, ge=0)
    """How often a trial that lost its worker is started again."""
    points: Points = ()
    """Configurations to try right after the default one."""
    screen: Screen = Field(default=None, json_schema_extra={"default": "off"})
    """off, or how to choose configurations that are tried before the sampler's own proposals. Off
    by default: by grad_norm four of 16 random networks had 0.024 more mIoU than all 16 (by macs
    0.017; by naswot and synflow less than all), but on one dataset and against random choice."""

    @property
    def time_budget_s(self) -> float | None:
        """The time budget in seconds, or None where there is none."""
        return None if self.time_budget is None else seconds_of(self.time_budget)


class TargetSettings(_Settings):
    """Where and how the latency is measured."""

    runtime: RuntimeName = "onnxruntime"
    """What the exported models are scored and timed in. openvino needs the extra
    automl[openvino]; there the network is timed without the resizes around it."""
    device: Literal["cpu"] = "cpu"
    """What it runs on."""
    threads: Count = 1
    """Threads of the runtime."""
    batch: Literal[1] = 1
    """Images at a time."""
    rounds: Count = 30
    """Timed calls of each model, interleaved with the others."""


class Experiment(_Settings):
    """A whole search, from data to bundles."""

    task: Literal["segmentation"] = "segmentation"
    """What the models do."""
    data: DataSettings = DataSettings()
    augmentation_policies: DeclaredPolicies = Field(default_factory=dict)
    space: Space
    objectives: Objectives = DEFAULT_OBJECTIVES
    constraints: Constraints = Field(default_factory=dict)
    search: SearchSettings = SearchSettings()
    train: TrainSettings = TrainSettings()
    compress: CompressSettings = CompressSettings()
    target: TargetSettings = TargetSettings()
    export: ExportSettings = ExportSettings()

    @model_validator(mode="after")
    def _check_across_sections(self) -> Self:
        faults = points_faults(self.space, self.search.points)
        faults += _fidelity_faults(self.search, self.train)
        told = [fault.under("search") for fault in faults]
        told += rung_faults(self.compress.int8, self.target.runtime)
        if told:
            raise_faults(told)
        return self

    @property
    def fidelity(self) -> Fidelity:
        """What the epochs of every trial of the search train on."""
        search, epochs = self.search, self.train.epochs
        rungs = rung_epochs(search.min_epochs, epochs, search.eta)
        return search.fidelity.fidelity(rungs, epochs, search.seed)

    def policy(self, params: Mapping[str, Scalar]) -> Policy | None:
        """The declared policy of a trial with these values; None for a built-in one."""
        return resolved_policy(self.augmentation_policies, params)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values in the form of the YAML file, every default spelt out."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, plain: object) -> Experiment:
        """Build an experiment from its plain form; raises FaultsError, a SpaceError."""
        try:
            # JSON mode takes lists for tuples, and is strict about everything else.
            return cls.model_validate_json(json.dumps(plain))
        except ValidationError as error:
            faults = faults_of(error, cls)
        if not any(fault.path[:2] == ("search", "points") for fault in faults):
            faults += _point_faults_beside_others(plain)
        if not any(fault.path[:2] == ("search", "fidelity") for fault in faults):
            faults += _fidelity_faults_beside_others(plain)
        raise FaultsError(_in_order([where_declared(fault, plain) for fault in faults]))

    def key(self) -> str:
        """A hash of all that shapes a result: equal keys can continue each other's study.

        How much is searched (trials, time, concurrency, retries) and what is exported may change
        between two runs of one study.
        """
        plain = self.to_json()
        # The data is known by its fingerprint, wherever it lies.
        del plain["data"]["source"]
        if plain["data"]["resize"] == "stretch":  # studies from before there was a choice go on
            del plain["data"]["resize"]
        del plain["export"]
        # Batches hold the same, whoever makes them and wherever they are used.
        for name in WITHOUT_EFFECT_ON_RESULTS:
            del plain["train"][name]
        for name, before in TRAIN_BEFORE.items():
            if plain["train"][name] == before:
                del plain["train"][name]
        plain["compress"]["int8"] = int8_key(self.compress.int8, self.target.runtime)
        if not plain["augmentation_policies"]:  # studies from before there were any go on
            del plain["augmentation_policies"]
        return short_hash({**plain, "search": shaping(plain["search"])})


def shaping(search: Mapping[str, Any]) -> dict[str, Any]:
    """What of the plain form of `search` shapes results."""
    return {name: value for name, value in search.items() if name not in _FREE_TO_CHANGE}


def points_faults(space: SearchSpace, points: Sequence[Mapping[str, Scalar]]) -> list[Fault]:
    """What keeps points from being configurations of a space; paths start at `points`."""
    return [
        fault.under("points", index)
        for index, point in enumerate(points)
        for fault in point_faults(space, point)
    ]


def _point_faults_beside_others(plain: Any) -> list[Fault]:
    """The check that pydantic skips where other fields have faults, as far as it is possible."""
    try:
        policies = parse_policies(plain.get("augmentation_policies", {}))
        space = space_with_policies(plain["space"], policies)
        found = points_faults(space, parse_points(plain["search"]["points"]))
    except (FaultsError, PydanticCustomError, LookupError, TypeError):
        return []
    return [fault.under("search") for fault in found]


def _fidelity_faults(search: SearchSettings, train: TrainSettings) -> list[Fault]:
    rungs = rung_epochs(search.min_epochs, train.epochs, search.eta)
    return fidelity_faults(search.fidelity, rungs, train.epochs)


def _fidelity_faults_beside_others(plain: Any) -> list[Fault]:
    """The same where other fields have faults, as far as it is possible."""
    try:
        search = {name: plain["search"][name] for name in _RUNGS & plain["search"].keys()}
        train = {name: plain["train"][name] for name in {"epochs"} & plain.get("train", {}).keys()}
        found = _fidelity_faults(
            SearchSettings.model_validate_json(json.dumps(search)),
            TrainSettings.model_validate_json(json.dumps(train)),
        )
    except (ValidationError, LookupError, TypeError, AttributeError):
        return []
    return [fault.under("search") for fault in found]


def _in_order(faults: list[Fault]) -> list[Fault]:
    sections = list(Experiment.model_fields)
    return sorted(
        faults,
        key=lambda fault: sections.index(str(fault.path[0])) if fault.path[0] in sections else -1,
    )
