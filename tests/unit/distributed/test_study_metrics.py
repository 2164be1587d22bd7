"""What a study tells Prometheus, with Ray's metrics replaced by a dictionary."""

import pytest

from automl.conductor.snapshot import Best, Snapshot
from automl.ranking import hypervolume
from automl.records import Objective, TrialConfig, TrialMessage, TrialStatus, Verdict
from automl.space.experiment import Experiment
from automl.space.search_plan import plan_of

PLAN = plan_of(
    Experiment.from_json(
        {
            "space": {"alpha": 0.5},
            "objectives": {"miou": "maximize", "latency_ms": "minimize"},
            "search": {"trials": 9},
        }
    )
)
CONFIG = TrialConfig(number=3, seed=3, params={"alpha": 0.5})


class Shelf(dict):
    """Metrics by name and labels, as Ray would export them."""

    def metric(self, *, counts):
        shelf = self

        class Metric:
            def __init__(self, name, description="", tag_keys=()):
                assert description
                self._name, self._keys, self._default = name, tag_keys, {}

            def set_default_tags(self, tags):
                self._default = tags

            def _key(self, tags):
                labels = {**self._default, **(tags or {})}
                assert set(labels) == set(self._keys)
                return (self._name, *[labels[key] for key in self._keys])

            def set(self, value, tags=None):
                assert not counts
                shelf[self._key(tags)] = value

            def inc(self, value, tags=None):
                assert counts
                assert value > 0, "Ray refuses others"
                shelf[self._key(tags)] = shelf.get(self._key(tags), 0) + value

        return Metric


@pytest.fixture
def shelf(monkeypatch):
    from automl.distributed import study_metrics

    shelf = Shelf()
    monkeypatch.setattr(study_metrics, "Gauge", shelf.metric(counts=False))
    monkeypatch.setattr(study_metrics, "Counter", shelf.metric(counts=True))
    return shelf


@pytest.fixture
def metrics(shelf):
    from automl.distributed.study_metrics import StudyMetrics

    return StudyMetrics("camvid", PLAN, images_of=lambda epoch: 10 * epoch, clock=lambda: 1e9)


def snapshot(**changes):
    fields = {
        "planned": 9,
        "running": 1,
        "paused": 2,
        "completed": 2,
        "infeasible": 1,
        "failed": 1,
        "epochs": 10.0,
        "planned_epochs": 50.0,
        "device_hours": 0.5,
        "front_size": 2,
        "elapsed_s": 60.0,
        "time_left_s": None,
        "best": Best(number=3, values=(0.5, 4.0)),
        "front": ((-0.5, 4.0), (-0.3, 2.0)),
        "default": (-0.2, 5.0),
    }
    return Snapshot(**(fields | changes))


def test_a_snapshot_becomes_gauges_and_counters(metrics, shelf):
    metrics.on_snapshot(snapshot())
    assert shelf["automl_trials", "camvid", "running"] == 1
    assert shelf["automl_trials", "camvid", "waiting"] == 2
    assert shelf["automl_infeasible_share", "camvid"] == 0.25
    assert shelf["automl_best_objective", "camvid", "miou"] == 0.5
    assert shelf["automl_best_objective", "camvid", "latency_ms"] == 4.0
    # By hand: 0.5 * (10 - 4) + 0.3 * (4 - 2), up to twice the default's 5 ms.
    assert shelf["automl_front_hypervolume", "camvid"] == pytest.approx(3.6)
    assert ("automl_time_left_seconds", "camvid") not in shelf
    assert shelf["automl_epochs", "camvid"] == 10
    metrics.on_snapshot(snapshot(epochs=12.0, time_left_s=30.0))
    assert shelf["automl_epochs", "camvid"] == 12
    assert shelf["automl_device_seconds", "camvid"] == 1800
    assert shelf["automl_time_left_seconds", "camvid"] == 30


def test_messages_become_images_failures_and_the_time_of_the_last_one(metrics, shelf):
    for epoch in (1, 2):
        told = TrialMessage(kind="epoch", seconds=1.0, epoch=epoch)
        metrics.on_message(CONFIG, told, Verdict.CONTINUE)
    end = TrialMessage(
        kind="end", seconds=1.0, status=TrialStatus.FAILED, reason="TrialError: loss is nan"
    )
    metrics.on_message(CONFIG, end, Verdict.CONTINUE)
    assert shelf["automl_images", "camvid"] == 30
    assert shelf["automl_failures", "camvid", "TrialError"] == 1
    assert shelf["automl_last_progress_timestamp_seconds", "camvid"] == 1e9


def test_a_plan_with_a_price_becomes_costs(shelf):
    from automl.distributed.study_metrics import StudyMetrics
    from automl.planning.plan import Bill

    bill = Bill(currency="EUR", device_hour=3.0, planned=7.5)
    metrics = StudyMetrics("camvid", PLAN, images_of=lambda _: 1, clock=lambda: 1e9, bill=bill)
    metrics.on_snapshot(snapshot(device_hours=2.0))
    assert shelf["automl_estimated_cost", "camvid", "EUR"] == 6.0
    assert shelf["automl_planned_cost", "camvid", "EUR"] == 7.5


def test_without_a_price_no_cost_is_made_up(metrics, shelf):
    metrics.on_snapshot(snapshot())
    assert not [key for key in shelf if "cost" in key[0]]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("TrialError: loss is nan", "TrialError"),
        ("its process died, again after each restart: X: y", "lost process"),
        ("something about 0.1234", "other"),
        (None, "other"),
    ],
)
def test_a_kind_of_failure_holds_nothing_that_varies(reason, kind):
    from automl.distributed.study_metrics import failure_kind

    assert failure_kind(reason) == kind


def test_the_hypervolume_waits_for_its_reference_and_prefers_a_bound():
    from dataclasses import replace

    from automl.distributed.study_metrics import reference_of

    assert reference_of(PLAN, None) is None
    assert reference_of(PLAN, (-0.2, 5.0)) == (0.0, 10.0)
    bound = replace(PLAN, constraints={"latency_ms": 8.0})
    assert reference_of(bound, None) == (0.0, 8.0)
    one = replace(PLAN, objectives=(Objective(metric="miou", direction="maximize"),))
    assert hypervolume([(-0.5,)], reference_of(one, None)) == 0.5
