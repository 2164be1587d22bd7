"""One configuration instead of a search: an experiment with a single trial, trained to its end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from automl.errors import UsageError
from automl.records import Scalar
from automl.space.experiment import Experiment
from automl.space.limits import Limits, nearest
from automl.space.parameter_table import PARAMETERS

#: A comma ends an assignment only where the next one begins: paths may hold commas.
_BETWEEN = re.compile(r",(?=\s*[a-z_]+=)")

_FLAGS: Mapping[str, bool] = {"true": True, "false": False}


def parse_assignments(words: Sequence[str], option: str) -> dict[str, Scalar]:
    """Values of parameters from `name=value` words; several may stand in one, between commas.

    Raises UsageError, naming `option`, with every fault.
    """
    found: dict[str, Scalar] = {}
    faults: list[str] = []
    for text in (part for word in words for part in _BETWEEN.split(word)):
        name, equals, value = text.strip().partition("=")
        if not equals:
            faults.append(f"{option}: given {text!r}; allowed: name=value, as learning_rate=1e-3")
        elif name not in PARAMETERS:
            meant = nearest(name, PARAMETERS)
            hint = "" if meant is None else f"; did you mean {meant}?"
            faults.append(
                f"{option}: no parameter {name!r}; allowed: {', '.join(PARAMETERS)}{hint}"
            )
        else:
            limits = PARAMETERS[name]
            parsed = _parsed(limits, value)
            if limits.accept(parsed):
                found[name] = limits.canonical(parsed)
            else:
                faults.append(f"{option}: {name}: given {value!r}; allowed: {limits.allowed}")
    if faults:
        raise UsageError("\n".join(faults))
    return found


def _parsed(limits: Limits, text: str) -> Scalar:
    """The value that a text means for a parameter; the text itself where it means none."""
    if limits.kind == "flag_or_text":
        return _FLAGS.get(text.lower(), text)
    if limits.kind in {"int", "float"}:
        try:
            return float(text)
        except ValueError:
            return text
    return text


def single_trial(
    experiment: Experiment,
    params: Mapping[str, Scalar],
    *,
    seed: int,
    epochs: int | None = None,
    workers: int | None = None,
    data: str | None = None,
) -> Experiment:
    """The experiment that trains these values alone, from its first epoch to its last.

    Data, training, target and INT8 stay as declared where nothing else is given. What belongs to a
    search is left out: rungs and what they train on, budgets, constraints, inherited weights,
    students and further seeds.
    Raises FaultsError, a SpaceError, where the values cannot be combined.
    """
    plain: dict[str, Any] = experiment.to_json()
    changed = {"epochs": epochs, "workers": workers}
    plain["train"] |= {name: value for name, value in changed.items() if value is not None}
    plain["train"]["inherit"] = False
    plain["data"]["source"] = experiment.data.source if data is None else data
    plain["space"] = dict(params)
    plain["search"] = {"trials": 1, "sampler": "qmc", "seed": seed, "concurrent": 1}
    plain["constraints"] = {}
    plain["compress"] |= {"winners": 1, "students": []}
    plain["export"] |= {"finalist_seeds": 0}
    return Experiment.from_json(plain)
