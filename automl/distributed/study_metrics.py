"""The numbers of a running study on Ray's Prometheus endpoint, beside those of Ray itself.

Ray puts `ray_` before each name. Each has the label `study`, the name of the study's folder. What
only grows is a counter: epochs and device time are the study's, earlier runs included, images and
failures those of this run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from ray.util.metrics import Counter, Gauge

from automl.conductor.snapshot import Snapshot
from automl.planning.plan import Bill
from automl.ranking import hypervolume
from automl.records import TrialConfig, TrialMessage, TrialStatus, Verdict
from automl.space.search_plan import SearchPlan

#: Name, what it is, and its labels beside `study`.
Described = tuple[str, tuple[str, ...]]

GAUGES: Mapping[str, Described] = MappingProxyType(
    {
        "automl_trials": ("Trials by state", ("state",)),
        "automl_trials_planned": ("Trials that the study plans", ()),
        "automl_epochs_planned": ("Full epochs that the rungs allow", ()),
        "automl_front_size": ("Trials that no other trial beats", ()),
        "automl_front_hypervolume": ("Hypervolume of the front, reference as in the report", ()),
        "automl_best_objective": ("Objectives of the trial that leads in the first", ("metric",)),
        "automl_infeasible_share": ("Share of the ended trials that break a constraint", ()),
        "automl_time_left_seconds": ("Estimate of the search's time to go", ()),
        "automl_last_progress_timestamp_seconds": ("When a trial last reported, Unix time", ()),
        "automl_estimated_cost": ("Device-hours of trials at the plan's price", ("currency",)),
        "automl_planned_cost": ("The most that the plan expects of the same", ("currency",)),
    }
)
#: Prometheus wants `_total` at the end of a counter; Ray puts it there.
COUNTERS: Mapping[str, Described] = MappingProxyType(
    {
        "automl_epochs": ("Epochs trained, in full ones", ()),
        "automl_images": ("Training images that epochs went through", ()),
        "automl_device_seconds": ("Time of trials, times their workers", ()),
        "automl_failures": ("Trials that failed, by kind", ("kind",)),
    }
)

_AN_ERROR = re.compile(r"(\w+(?:Error|Exception))\b")


class StudyMetrics:
    """An observer of a search that keeps Ray's metrics up to date.

    `images_of` tells how many training images an epoch goes through. Costs are told where a plan
    knows a price.
    """

    def __init__(
        self,
        study: str,
        plan: SearchPlan,
        *,
        images_of: Callable[[int], int],
        clock: Callable[[], float],
        bill: Bill | None = None,
    ) -> None:
        self._plan = plan
        self._bill = bill
        self._images_of = images_of
        self._clock = clock
        self._gauges = {
            name: Gauge(name, description=text, tag_keys=("study", *labels))
            for name, (text, labels) in GAUGES.items()
        }
        self._counters = {
            name: Counter(name, description=text, tag_keys=("study", *labels))
            for name, (text, labels) in COUNTERS.items()
        }
        for metric in (*self._gauges.values(), *self._counters.values()):
            metric.set_default_tags({"study": study})
        self._counted = {"automl_epochs": 0.0, "automl_device_seconds": 0.0}
        # The search begins now: that it may come to nothing must show, too.
        self._gauges["automl_last_progress_timestamp_seconds"].set(clock())

    def on_message(self, config: TrialConfig, message: TrialMessage, verdict: Verdict) -> None:
        """Count what a trial reports."""
        self._gauges["automl_last_progress_timestamp_seconds"].set(self._clock())
        if message.kind == "epoch":
            self._counters["automl_images"].inc(self._images_of(message.epoch))
        if message.status is TrialStatus.FAILED:
            self._counters["automl_failures"].inc(1, tags={"kind": failure_kind(message.reason)})

    def on_promoted(self, config: TrialConfig, epoch: int) -> None:
        """Nothing: a snapshot follows."""

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Set what is now."""
        states = ("running", "waiting", "paused", "completed", "infeasible", "failed")
        for state in states:
            self._gauges["automl_trials"].set(getattr(snapshot, state), tags={"state": state})
        self._gauges["automl_trials_planned"].set(snapshot.planned)
        self._gauges["automl_epochs_planned"].set(snapshot.planned_epochs)
        self._gauges["automl_front_size"].set(snapshot.front_size)
        self._gauges["automl_infeasible_share"].set(snapshot.infeasible / max(1, snapshot.ended))
        if snapshot.time_left_s is not None:
            self._gauges["automl_time_left_seconds"].set(snapshot.time_left_s)
        self._set_quality(snapshot)
        self._set_costs(snapshot.device_hours)
        self._count("automl_epochs", snapshot.epochs)
        self._count("automl_device_seconds", snapshot.device_hours * 3600)

    def _set_quality(self, snapshot: Snapshot) -> None:
        if snapshot.best is not None:
            values = zip(self._plan.objectives, snapshot.best.values, strict=True)
            for objective, value in values:
                tags = {"metric": objective.metric}
                self._gauges["automl_best_objective"].set(value, tags=tags)
        reference = reference_of(self._plan, snapshot.default)
        if reference is not None:
            volume = hypervolume(snapshot.front, reference)
            self._gauges["automl_front_hypervolume"].set(volume)

    def _set_costs(self, device_hours: float) -> None:
        if self._bill is not None:
            tags = {"currency": self._bill.currency}
            cost = device_hours * self._bill.device_hour
            self._gauges["automl_estimated_cost"].set(cost, tags=tags)
            self._gauges["automl_planned_cost"].set(self._bill.planned, tags=tags)

    def _count(self, name: str, total: float) -> None:
        added = total - self._counted[name]
        if added > 0:
            self._counters[name].inc(added)
            self._counted[name] = total


def reference_of(plan: SearchPlan, default: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """The losses that the hypervolume is measured to; None where they are not known yet.

    As in the report: 0 for what is maximised; for a cost its bound, or twice the default model's.
    """
    reference = []
    for index, objective in enumerate(plan.objectives):
        bound = plan.constraints.get(objective.metric)
        if objective.direction == "maximize":
            reference.append(0.0)
        elif bound is not None:
            reference.append(bound)
        elif default is not None:
            reference.append(2 * default[index])
        else:
            return None
    return tuple(reference)


def failure_kind(reason: str | None) -> str:
    """The class of error that a reason begins with, or what else there is to say in a word or two.

    A label must have few values, so nothing of the message itself goes into it.
    """
    text = "" if reason is None else reason
    found = _AN_ERROR.match(text)
    if found is not None:
        return found.group(1)
    return "lost process" if text.startswith("its process died") else "other"
