"""The plan of a study as a file: what it is expected to take, for several numbers of machines."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from automl.errors import StudyError, UsageError
from automl.measurement.pace import Probe
from automl.records import from_json, to_json
from automl.store.atomic import write_json

#: Shares of the simulations that lie below `low`, `mid` and `high`.
QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Half of the simulations are below `mid`; a tenth below `low`, a tenth above `high`."""

    low: float
    mid: float
    high: float

    def times(self, factor: float) -> Range:
        """All three, scaled."""
        return Range(low=self.low * factor, mid=self.mid * factor, high=self.high * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What a study costs in all, and an hour of one of the devices that trials hold.

    `mid` is on the market that the cluster prefers; `low` and `high` are on the cheapest and the
    dearest one that it may take. `standing` is the part of `mid` that machines cost which never
    train.
    """

    currency: str
    total: Range
    standing: float
    device_hour: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What a study takes on so many machines.

    `trials_at_a_time` run on them; `search_s` is the time of the search, `after_s` that of
    compression, ranking and finalists, `wall_s` all of it with the start of the machines.
    `device_hours` are those of the trials, as a study counts them, and `node_hours` those of
    training machines that are paid for.
    """

    nodes: int
    trials_at_a_time: int
    wall_s: Range
    search_s: Range
    after_s: Range
    epochs: Range
    device_hours: Range
    node_hours: Range
    utilisation: float
    money: Money | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """All that `automl plan` found out. `study_key` and `trials` tell which study it is of."""

    made: str
    study_key: str
    trials: int
    dataset: str
    machines: str
    probe: Probe
    assumptions: tuple[str, ...]
    simulations: int
    options: tuple[Option, ...]

    def option_for(self, trials_at_a_time: int) -> Option:
        """The option whose number of trials at a time comes closest."""
        return min(self.options, key=lambda o: abs(o.trials_at_a_time - trials_at_a_time))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a device-hour of the trials costs, and what those of all trials should cost at most."""

    currency: str
    device_hour: float
    planned: float


def bill_of(plan: StudyPlan | None, study_key: str, trials_at_a_time: int) -> Bill | None:
    """The prices in a plan of this very study; None where there is none, or no price in it."""
    if plan is None or plan.study_key != study_key:
        return None
    option = plan.option_for(trials_at_a_time)
    if option.money is None:
        return None
    price = option.money.device_hour
    return Bill(
        currency=option.money.currency,
        device_hour=price,
        planned=option.device_hours.high * price,
    )


def write_plan(path: Path, plan: StudyPlan) -> None:
    """Write a plan whole or not at all; raises UsageError where the place cannot be written to."""
    try:
        write_json(path, to_json(plan))
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


def read_plan(path: Path) -> StudyPlan | None:
    """The plan in a file, None where there is none; raises StudyError on an unreadable one."""
    try:
        return from_json(StudyPlan, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StudyError(
            f"{path}: not a readable plan ({error}); make it anew with automl plan, or delete it"
        ) from error
