"""What a search engine needs to know: nothing of images, networks or training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import ValidationError

from automl.records import Direction, Objective, short_hash
from automl.space.experiment import (
    Experiment,
    SearchSettings,
    points_faults,
    shaping,
)
from automl.space.faults import Fault, FaultsError, wrong_value
from automl.space.forms import parse_free_space, space_form
from automl.space.limits import is_number
from automl.space.pydantic_faults import faults_of
from automl.space.search_space import SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """A space, what is optimised, and how much is spent.

    `constraints` are upper bounds of measured values, `epochs` the resource of a trial that is
    never stopped, and `workers` the devices that one trial occupies. `costs` is what each epoch
    costs, in full ones, where that is not 1 all along.
    """

    space: SearchSpace
    objectives: tuple[Objective, ...]
    search: SearchSettings
    epochs: int
    constraints: Mapping[str, float] = field(default_factory=dict)
    workers: int = 1
    costs: tuple[float, ...] = ()

    def epoch_cost(self, epoch: int) -> float:
        """What one epoch, counted from 1, costs in full ones."""
        return self.costs[epoch - 1] if self.costs else 1.0

    def cost(self, epochs: int) -> float:
        """What the first `epochs` epochs cost in full ones."""
        return sum(self.costs[:epochs]) if self.costs else float(epochs)


def plan_of(experiment: Experiment) -> SearchPlan:
    """The search that an experiment declares."""
    return SearchPlan(
        space=experiment.space,
        objectives=experiment.objectives,
        search=experiment.search,
        epochs=experiment.train.epochs,
        constraints=experiment.constraints,
        workers=experiment.train.workers,
        costs=experiment.fidelity.costs(experiment.train.epochs, experiment.data.size),
    )


def plan_from(
    space: object,
    *,
    objectives: object,
    constraints: object,
    epochs: object,
    search: Mapping[str, object],
) -> SearchPlan:
    """A search over parameters of any names, from plain values.

    Raises FaultsError, a SpaceError, with every fault.
    """
    faults: list[Fault] = []
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        faults.append(wrong_value(("epochs",), epochs, "a whole number >= 1"))
    faults += _objective_faults(objectives) + _constraint_faults(constraints)
    parsed, settings = None, None
    try:
        parsed = parse_free_space(space)
    except FaultsError as error:
        faults += [fault.under("space") for fault in error.faults]
    try:
        settings = SearchSettings.model_validate_json(json.dumps(search))
    except ValidationError as error:
        faults += faults_of(error, SearchSettings)
    except TypeError as error:  # such as a number of numpy's among the points
        faults.append(Fault(path=("points",), problem=f"allowed: plain values; {error}"))
    if parsed is not None and settings is not None:
        faults += points_faults(parsed, settings.points)
    if faults or not (
        isinstance(objectives, Mapping)
        and isinstance(constraints, Mapping)
        and parsed is not None
        and settings is not None
    ):
        raise FaultsError(faults)
    return SearchPlan(
        space=parsed,
        objectives=tuple(
            Objective(metric=name, direction=direction) for name, direction in objectives.items()
        ),
        search=settings,
        epochs=int(str(epochs)),
        constraints={name: float(str(bound)) for name, bound in constraints.items()},
    )


def plan_to_json(plan: SearchPlan) -> dict[str, Any]:
    """A plan as plain JSON values."""
    return {
        "space": space_form(plan.space),
        "objectives": {objective.metric: objective.direction for objective in plan.objectives},
        "constraints": dict(plan.constraints),
        "epochs": plan.epochs,
        "search": plan.search.model_dump(mode="json"),
    }


def plan_key(plan: SearchPlan) -> str:
    """A hash of all that shapes a result: equal keys can continue each other's search."""
    plain = plan_to_json(plan)
    return short_hash({**plain, "search": shaping(plain["search"])})


def _objective_faults(objectives: object) -> list[Fault]:
    allowed = get_args(Direction)
    if not isinstance(objectives, Mapping) or not objectives:
        return [wrong_value(("objectives",), objectives, 'a mapping such as {"loss": "minimize"}')]
    return [
        wrong_value(("objectives", name), direction, " or ".join(allowed), allowed)
        for name, direction in objectives.items()
        if direction not in allowed
    ]


def _constraint_faults(constraints: object) -> list[Fault]:
    if not isinstance(constraints, Mapping):
        return [wrong_value(("constraints",), constraints, "a mapping such as {'latency_ms': 30}")]
    allowed = "a number > 0, the largest value accepted"
    return [
        wrong_value(("constraints", name), bound, allowed)
        for name, bound in constraints.items()
        if not is_number(bound) or float(str(bound)) <= 0
    ]
