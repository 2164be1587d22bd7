"""The types of an experiment's fields whose written form needs more than pydantic's own checks.

Each parses plain values, reports all of its faults, and knows its JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from automl.records import Direction, Objective, Scalar
from automl.space.faults import Fault, FaultsError, unknown_key, wrong_value
from automl.space.forms import parse_space, space_form
from automl.space.limits import is_number
from automl.space.policies.declaration import Policies, parse_policies, policies_form
from automl.space.policies.schema import policies_schema
from automl.space.policies.searched import space_with_policies
from automl.space.pydantic_faults import raise_faults
from automl.space.schema import mapping_schema, points_schema, space_schema
from automl.space.search_space import SearchSpace

ACCURACY_METRICS = ("miou", "dice", "pixel_accuracy")
COST_METRICS = ("latency_ms", "params_m", "macs_g", "size_mb")

_BUDGET = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
_BUDGET_TEXT = 'a time such as "30m", "2h" or "1h30m", or a number of seconds > 0'


def seconds_of(budget: str | float) -> float:
    """Seconds of "30m", "2h", "1h30m", "90s" or a plain number; ValueError for anything else."""
    if isinstance(budget, str):
        found = _BUDGET.fullmatch(budget.strip())
        parts = [float(part) if part else 0.0 for part in found.groups()] if found else [0.0]
        seconds = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    else:
        seconds = float(budget) if is_number(budget) else 0.0
    if seconds <= 0:
        raise ValueError(f"given {budget!r}; allowed: {_BUDGET_TEXT}")
    return seconds


def _budget(raw: Any) -> str | float | None:
    if raw is None:
        return None
    try:
        seconds_of(raw)
    except ValueError:
        raise_faults([wrong_value((), raw, _BUDGET_TEXT)])
    checked: str | float = raw
    return checked


def _concurrent(raw: Any) -> Literal["auto"] | int:
    if raw == "auto":
        return "auto"
    if isinstance(raw, bool) or not isinstance(raw, int) or raw < 1:
        raise_faults([wrong_value((), raw, "auto, or a whole number >= 1", ["auto"])])
    return raw


def _space(raw: Any, info: ValidationInfo) -> SearchSpace:
    """Parse the space; the policies stand before it in `Experiment`, and are known by now."""
    if isinstance(raw, SearchSpace):
        return raw
    try:
        if "augmentation_policies" in info.data:
            return space_with_policies(raw, info.data["augmentation_policies"])
        return parse_space(raw)  # they have faults, which are told
    except FaultsError as error:
        raise_faults(error.faults)


def _policies(raw: Any) -> Policies:
    try:
        return parse_policies(raw)
    except FaultsError as error:
        raise_faults(error.faults)


def parse_points(raw: Any) -> tuple[Mapping[str, Scalar], ...]:
    """Parse a list of mappings to plain values; leaves by way of `raise_faults`."""
    allowed = "a list of mappings from parameters to values"
    if not isinstance(raw, (list, tuple)):
        raise_faults([wrong_value((), raw, allowed)])
    faults = []
    for index, point in enumerate(raw):
        if not isinstance(point, Mapping) or not point:
            faults.append(wrong_value((index,), point, "a mapping from parameters to values"))
            continue
        faults += [
            wrong_value((index, name), value, "a plain value")
            for name, value in point.items()
            if not isinstance(value, (bool, int, float, str))
        ]
    if faults:
        raise_faults(faults)
    return tuple(dict(point) for point in raw)


def _objectives(raw: Any) -> tuple[Objective, ...]:
    """Parse `{miou: maximize, latency_ms: minimize}`: one accuracy first, then costs."""
    if isinstance(raw, (list, tuple)) and all(isinstance(item, Objective) for item in raw):
        raw = {objective.metric: objective.direction for objective in raw}
    if not isinstance(raw, Mapping) or not raw:
        raise_faults([wrong_value((), raw, "a mapping such as {miou: maximize}")])
    faults: list[Fault] = []
    for name, direction in raw.items():
        wanted = "maximize" if name in ACCURACY_METRICS else "minimize"
        if name not in ACCURACY_METRICS + COST_METRICS:
            faults.append(unknown_key((name,), ACCURACY_METRICS + COST_METRICS))
        elif direction != wanted:
            faults.append(wrong_value((name,), direction, wanted, [wanted]))
    if not faults and [name in ACCURACY_METRICS for name in raw] != [True] + [False] * (
        len(raw) - 1
    ):
        allowed = (
            f"one of {', '.join(ACCURACY_METRICS)} first, then any of {', '.join(COST_METRICS)}"
        )
        faults.append(wrong_value((), list(raw), allowed))
    if faults:
        raise_faults(faults)
    return tuple(Objective(metric=name, direction=direction) for name, direction in raw.items())


def _constraints(raw: Any) -> Mapping[str, float]:
    if not isinstance(raw, Mapping):
        raise_faults([wrong_value((), raw, "a mapping such as {latency_ms: 30}")])
    faults = []
    for name, bound in raw.items():
        if name not in COST_METRICS:
            faults.append(unknown_key((name,), COST_METRICS))
        elif not is_number(bound) or bound <= 0:
            faults.append(wrong_value((name,), bound, "a number > 0, the largest value accepted"))
    if faults:
        raise_faults(faults)
    return {name: float(bound) for name, bound in raw.items()}


def _objectives_form(objectives: tuple[Objective, ...]) -> dict[str, Direction]:
    return {objective.metric: objective.direction for objective in objectives}


def _points_form(points: tuple[Mapping[str, Scalar], ...]) -> list[dict[str, Scalar]]:
    return [dict(point) for point in points]


_OBJECTIVES_SCHEMA = mapping_schema(
    ACCURACY_METRICS + COST_METRICS,
    {"enum": ["maximize", "minimize"]},
    "One accuracy to maximize, then the costs to minimize.",
)
_CONSTRAINTS_SCHEMA = mapping_schema(
    COST_METRICS, {"type": "number", "exclusiveMinimum": 0}, "The largest values accepted."
)
_BUDGET_SCHEMA = {
    "anyOf": [{"type": "string"}, {"type": "number", "exclusiveMinimum": 0}, {"type": "null"}],
    "description": f"Stop starting trials after this time: {_BUDGET_TEXT}.",
}
_CONCURRENT_SCHEMA = {
    "anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}],
    "description": "Trials at a time; auto: as many as there are CPUs or GPUs for.",
}

Budget = Annotated[str | float | None, PlainValidator(_budget), WithJsonSchema(_BUDGET_SCHEMA)]
Concurrency = Annotated[
    Literal["auto"] | int, PlainValidator(_concurrent), WithJsonSchema(_CONCURRENT_SCHEMA)
]
Points = Annotated[
    tuple[Mapping[str, Scalar], ...],
    PlainValidator(parse_points),
    PlainSerializer(_points_form),
    WithJsonSchema(points_schema()),
]
DeclaredPolicies = Annotated[
    Policies,
    PlainValidator(_policies),
    PlainSerializer(policies_form),
    WithJsonSchema(policies_schema()),
]
Space = Annotated[
    SearchSpace,
    PlainValidator(_space),
    PlainSerializer(space_form),
    WithJsonSchema(space_schema()),
]
Objectives = Annotated[
    tuple[Objective, ...],
    PlainValidator(_objectives),
    PlainSerializer(_objectives_form),
    WithJsonSchema(_OBJECTIVES_SCHEMA),
]
Constraints = Annotated[
    Mapping[str, float], PlainValidator(_constraints), WithJsonSchema(_CONSTRAINTS_SCHEMA)
]
Side = Annotated[int, Field(ge=32, le=2048, multiple_of=32)]
