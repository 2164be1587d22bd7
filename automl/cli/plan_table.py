"""What `automl plan` prints: the probe, and a row for each number of machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from automl.planning.plan import Option, Range, StudyPlan

#: Below, what other programs do to the probe is not worth a word.
_NOTABLE_WAIT = 0.1


def describe_probe(plan: StudyPlan) -> list[str]:
    """On what was measured, and whether something was in the way."""
    probe = plan.probe
    measured = (
        f"probed     {len(probe.networks)} networks on {probe.device} ({probe.cpu}), "
        f"{probe.threads} thread(s); a new process can train after {probe.process_s:.1f} s"
    )
    lines = [measured]
    if probe.waited > _NOTABLE_WAIT:
        lines.append(
            f"           other programs were at work: it took {probe.waited:.0%} longer than it "
            "counts; the plan is for machines without them"
        )
    return lines


def describe_option_table(plan: StudyPlan) -> Table:
    """A row for each number of machines: half of the simulations, and the middle 80 %."""
    table = Table(
        title=f"{plan.trials} trials on {plan.machines}: median (10 to 90 % of "
        f"{plan.simulations} simulated courses)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for name in ("machines", "trials\nat a time"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("wall time", "of it\nsearch", "device-hours\nof trials"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("busy", justify="right", no_wrap=True)
    priced = plan.options[0].money
    if priced is not None:
        table.add_column(f"{priced.currency}", justify="right", no_wrap=True)
        table.add_column("of it\nhead, timing", justify="right", no_wrap=True)
    table.add_column("note")
    for option in plan.options:
        table.add_row(*_row(option))
    return table


def _row(option: Option) -> list[str]:
    money = option.money
    told = [] if money is None else [range_text(money.total, ".2f"), f"{money.standing:.2f}"]
    return [
        str(option.nodes),
        str(option.trials_at_a_time),
        time_range_text(option.wall_s),
        time_text(option.search_s.mid),
        range_text(option.device_hours, ".2f" if option.device_hours.mid >= 1 else ".3f"),
        f"{option.utilisation:.0%}",
        *told,
        option.note,
    ]


def range_text(found: Range, form: str) -> str:
    """`mid (low to high)`."""
    return f"{found.mid:{form}} ({found.low:{form}} to {found.high:{form}})"


def time_range_text(found: Range) -> str:
    """The same of seconds."""
    return f"{time_text(found.mid)} ({time_text(found.low)} to {time_text(found.high)})"


def time_text(seconds: float) -> str:
    """Seconds as people read them: 45 s, 12 min, 3.4 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"
