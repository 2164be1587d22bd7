import io
from dataclasses import replace

import pytest
from rich.console import Console

from automl.cli.progress import (
    LiveProgress,
    PlainProgress,
    duration,
    message_text,
    showing_progress,
    snapshot_text,
)
from automl.conductor.snapshot import Best, Snapshot
from automl.records import (
    Measurement,
    Objective,
    SpeedChoice,
    TrialConfig,
    TrialMessage,
    TrialStatus,
    Verdict,
)

OBJECTIVES = (
    Objective(metric="miou", direction="maximize"),
    Objective(metric="latency_ms", direction="minimize"),
)
CONFIG = TrialConfig(
    number=3, seed=3, params={"encoder": "resnet18", "decoder": "fpn", "decoder_width": 64}
)
COSTS = TrialMessage(
    kind="costs",
    seconds=1.0,
    measurements=(
        Measurement(metric="params_m", value=11.2345),
        Measurement(metric="latency_ms", value=12.5),
    ),
)
EPOCH = TrialMessage(
    kind="epoch", seconds=2.0, epoch=4, metrics={"val_loss": 0.5, "miou": 0.51239, "dice": 0.7}
)


def ending(status, reason=None):
    return TrialMessage(kind="end", seconds=3.0, status=status, reason=reason)


def snapshot(**changes):
    values = {
        "planned": 12,
        "running": 2,
        "paused": 2,
        "completed": 3,
        "infeasible": 1,
        "failed": 0,
        "epochs": 20,
        "planned_epochs": 90,
        "device_hours": 0.05,
        "front_size": 2,
        "elapsed_s": 130.0,
        "time_left_s": 4000.0,
        "best": Best(number=3, values=(0.5124, 12.5)),
        **changes,
    }
    return Snapshot(**values)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (45.4, "45 s"),
        (89, "89 s"),
        (90, "2 min"),
        (720, "12 min"),
        (5340, "89 min"),
        (5399, "1 h 30 min"),
        (3600 * 2 + 300, "2 h 05 min"),
        (3600 * 30, "30 h 00 min"),
    ],
)
def test_times_are_told_as_people_say_them(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("message", "verdict", "text"),
    [
        (
            COSTS,
            Verdict.CONTINUE,
            "trial   3  starts: resnet18, fpn, 64: params_m 11.2  latency_ms 12.5",
        ),
        (EPOCH, Verdict.CONTINUE, "trial   3  epoch   4  miou 0.5124"),
        (
            replace(EPOCH, epoch=1, speed=SpeedChoice(precision="bf16")),
            Verdict.CONTINUE,
            "trial   3  epoch   1  miou 0.5124  in bf16, channels-last",
        ),
        (
            replace(EPOCH, speed=SpeedChoice(precision="bf16")),
            Verdict.CONTINUE,
            "trial   3  epoch   4  miou 0.5124",
        ),
        (EPOCH, Verdict.PAUSE, "trial   3  epoch   4  miou 0.5124  waits here"),
        (ending(TrialStatus.COMPLETED), Verdict.CONTINUE, "trial   3  completed"),
        (
            ending(TrialStatus.FAILED, "TrialError: [x] is nan"),
            Verdict.CONTINUE,
            "trial   3  failed: TrialError: [x] is nan",
        ),
    ],
)
def test_each_event_is_one_line(message, verdict, text):
    assert message_text(CONFIG, message, verdict, OBJECTIVES) == text


def test_the_state_is_told_in_two_lines():
    counts, rest = snapshot_text(snapshot(), OBJECTIVES).splitlines()
    assert counts == (
        "2 running, 4 waiting, 2 paused, 3 completed, 1 infeasible, 0 failed; 20 of 90 epochs"
    )
    assert rest == (
        "best so far: trial 3 (miou 0.5124, latency_ms 12.5), front: 2, "
        "elapsed 2 min (0.05 device-h), about 67 min left"
    )


@pytest.mark.parametrize(
    ("spent", "planned", "text"),
    [
        (20.0, 90.0, "20 of 90 epochs"),
        (7.25, 30.0, "7.2 of 30 full epochs"),
        (0.0, 1.5, "0 of 1.5 full epochs"),
        (1_500_000, 2_000_000, "1500000 of 2000000 epochs"),
    ],
)
def test_epochs_that_cost_less_are_counted_in_full_ones(spent, planned, text):
    assert snapshot_text(snapshot(epochs=spent, planned_epochs=planned), OBJECTIVES).startswith(
        f"2 running, 4 waiting, 2 paused, 3 completed, 1 infeasible, 0 failed; {text}\n"
    )


def test_what_is_not_known_yet_is_left_out():
    text = snapshot_text(snapshot(best=None, time_left_s=None, front_size=0), OBJECTIVES)
    assert text.splitlines()[1] == "front: 0, elapsed 2 min (0.05 device-h)"


def test_trials_beyond_ten_thousand_keep_their_number():
    best = Best(number=12345, values=(0.5, 1.0))
    assert "trial 12345 (" in snapshot_text(snapshot(best=best), OBJECTIVES)


def test_a_pipe_gets_one_uncut_line_an_event_and_nothing_for_snapshots():
    console = Console(file=io.StringIO(), width=40)
    reason = "TrialError: [bold]no markup[/bold] " + "and no line break " * 5
    with showing_progress(console, OBJECTIVES) as progress:
        assert isinstance(progress, PlainProgress)
        progress.say("search: [red]3[/red] trials")
        progress.on_message(CONFIG, ending(TrialStatus.FAILED, reason), Verdict.CONTINUE)
        progress.on_snapshot(snapshot())
    assert console.file.getvalue() == f"search: [red]3[/red] trials\ntrial   3  failed: {reason}\n"


@pytest.fixture
def terminal():
    return Console(file=io.StringIO(), force_terminal=True, width=120, height=40, color_system=None)


def panel(progress, terminal):
    """The panel as it was last drawn."""
    with terminal.capture() as capture:
        terminal.print(progress._live.get_renderable())
    return capture.get()


def test_a_terminal_gets_a_panel_with_the_latest_events_and_the_state(terminal):
    with showing_progress(terminal, OBJECTIVES) as progress:
        assert isinstance(progress, LiveProgress)
        for epoch in range(1, 10):
            told = TrialMessage(kind="epoch", seconds=1.0, epoch=epoch, metrics={"miou": 0.1})
            progress.on_message(CONFIG, told, Verdict.CONTINUE)
        progress.on_snapshot(snapshot())
        shown = panel(progress, terminal)
    assert "epoch   9" in shown
    assert "epoch   3" not in shown, "only the latest events fit"
    assert "2 running, 4 waiting" in shown
    assert "about 67 min left" in shown
    assert "━" in shown


@pytest.mark.parametrize(
    ("message", "verdict", "text"),
    [
        (ending(TrialStatus.COMPLETED), Verdict.CONTINUE, "trial   3  completed"),
        (ending(TrialStatus.FAILED, "[x]"), Verdict.CONTINUE, "trial   3  failed: [x]"),
    ],
)
def test_how_trials_end_stays_above_the_panel(terminal, message, verdict, text):
    with showing_progress(terminal, OBJECTIVES) as progress:
        progress.on_message(CONFIG, message, verdict)
        progress.on_snapshot(snapshot())
        assert text not in panel(progress, terminal)
    assert text in terminal.file.getvalue()


def test_a_line_said_on_a_terminal_is_printed_as_it_is(terminal):
    with showing_progress(terminal, OBJECTIVES) as progress:
        progress.say("compress: [2] jobs")
        progress.on_snapshot(snapshot(planned=2, completed=3))
    assert "compress: [2] jobs" in terminal.file.getvalue()
