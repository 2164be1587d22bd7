"""When a search starts nothing more: time, device-hours, a front that no longer changes."""

from __future__ import annotations

from automl.conductor.tally import Tally
from automl.fidelity import rung_epochs
from automl.scheduling import planned_arrivals
from automl.space.search_plan import SearchPlan

TIME_IS_UP = "the time budget is spent"
DEVICES_ARE_USED_UP = "the budget of device-hours is spent"


class Budget:
    """What a plan allows, and what of it is spent."""

    def __init__(self, plan: SearchPlan, tally: Tally) -> None:
        self._search = plan.search
        self._tally = tally

    def spent(self, elapsed_s: float) -> str | None:
        """Why every trial has to end now, or None."""
        seconds, hours = self._search.time_budget_s, self._search.device_hours
        if seconds is not None and elapsed_s >= seconds:
            return TIME_IS_UP
        if hours is not None and self._tally.device_seconds >= hours * 3600:
            return DEVICES_ARE_USED_UP
        return None

    def converged(self) -> bool:
        """Whether the front has stood still so long that no new configuration is tried."""
        limit = self._search.stop_when.front_unchanged_for
        return limit is not None and self._tally.front_unchanged_for >= limit


def planned_rungs(plan: SearchPlan) -> list[tuple[int, int]]:
    """(epochs, trials that train as long), rung by rung, the full training last.

    Trial 0 is beside the rungs: it trains to the end.
    """
    search, epochs = plan.search, plan.epochs
    rungs = rung_epochs(search.min_epochs, epochs, search.eta)
    arrivals = planned_arrivals(search.trials - 1, len(rungs), search.eta)
    return [(epoch, count + 1) for epoch, count in zip((*rungs, epochs), arrivals, strict=True)]


def planned_epochs(plan: SearchPlan) -> float:
    """What all planned trials together cost, in full epochs, where none is infeasible or fails."""
    total, before = 0.0, 0.0
    for epoch, count in planned_rungs(plan):
        cost = plan.cost(epoch)
        total += (cost - before) * count
        before = cost
    return total
