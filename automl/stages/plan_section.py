"""The section of the report that holds a plan beside what the study really took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from automl.planning.plan import Range, StudyPlan, read_plan
from automl.records import TrialConfig, TrialResult, Verdict, from_json
from automl.space.search_plan import plan_of
from automl.stages.study import Study
from automl.store.journal import read_journal
from automl.store.markdown import markdown_table


def plan_section(study: Study, results: Sequence[TrialResult]) -> list[str]:
    """Wall time, device-hours, epochs and money: planned, and as they were; [] without a plan.

    Raises StudyError where the plan cannot be read.
    """
    plan = read_plan(study.folder.plan_file)
    if plan is None:
        return []
    if plan.study_key != study.experiment.key():
        return [
            "## Plan and actual",
            "",
            f"The plan of {plan.made} is of another experiment: it was changed since.",
            "",
        ]
    return ["## Plan and actual", "", *_compared(study, results, plan), ""]


def _compared(study: Study, results: Sequence[TrialResult], plan: StudyPlan) -> list[str]:
    events = read_journal(study.folder.journal_file)
    option = plan.option_for(most_at_a_time(events))
    search = plan_of(study.experiment)
    device_hours = sum(result.seconds for result in results) * search.workers / 3600
    rows = [
        ["", "planned", "10 to 90 %", "actual", "actual / planned"],
        _row(
            "search, min",
            option.search_s.times(1 / 60),
            max((float(event["elapsed"]) for event in events), default=0.0) / 60,
            ".1f",
        ),
        _row("device-hours of trials", option.device_hours, device_hours, ".3f"),
        _row("full epochs", option.epochs, sum(search.cost(r.epochs) for r in results), ".1f"),
    ]
    bill = ""
    if option.money is not None:
        price = option.money.device_hour
        rows.append(
            _row(
                f"these device-hours, {option.money.currency}",
                option.device_hours.times(price),
                device_hours * price,
                ".2f",
            )
        )
        bill = (
            f" The whole bill was planned at {option.money.total.mid:.2f} "
            f"{option.money.currency}, with start and idle time of machines and those that never "
            "train; only the provider knows what it was."
        )
    changed = study.experiment.search.trials != plan.trials
    trials = f" It was made for {plan.trials} trials." if changed else ""
    machines = "machine" if option.nodes == 1 else "machines"
    told = (
        f"Planned on {plan.made} for {option.nodes} {machines} ({plan.machines}), "
        f"{option.trials_at_a_time} trials at a time.{trials} Compression and ranking, planned at "
        f"{option.after_s.mid / 60:.1f} min, are not in the time of the search.{bill}"
    )
    return [told, "", *markdown_table(rows)]


def _row(name: str, planned: Range, actual: float, form: str) -> list[str]:
    ratio = f"{actual / planned.mid:.2f}" if planned.mid > 0 else "-"
    bounds = f"{planned.low:{form}} to {planned.high:{form}}"
    return [name, f"{planned.mid:{form}}", bounds, f"{actual:{form}}", ratio]


def most_at_a_time(events: Sequence[Mapping[str, Any]]) -> int:
    """How many trials of a journal ran at the same time, at most; 1 where none did."""
    running: set[str] = set()
    most = 1
    for event in events:
        if event["kind"] == "proposed":
            running.add(from_json(TrialConfig, event["config"]).trial_id)
        elif event["kind"] == "promoted":
            running.add(event["trial_id"])
        elif _has_left(event):
            running.discard(event["trial_id"])
        most = max(most, len(running))
    return most


def _has_left(event: Mapping[str, Any]) -> bool:
    verdict, message = event.get("verdict"), event.get("message", {})
    return verdict != Verdict.CONTINUE.value or message.get("kind") == "end"
