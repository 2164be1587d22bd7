import json
from dataclasses import fields

import pytest

from automl.errors import UsageError
from automl.jobs import costs
from automl.jobs.costs import latency_measurement, measure_costs, prepare_reference, ranking_ms
from automl.measurement.latency import LatencyStats
from automl.space.experiment import TargetSettings


def stats(cpu_ms, wall_ms=99.0):
    unused = {field.name: 100.0 for field in fields(LatencyStats)}
    return LatencyStats(**{**unused, "p50_ms": wall_ms, "cpu_p50_ms": cpu_ms})


class FakeBench:
    """In place of exporting and timing: files of a few bytes, processor times of choice."""

    def __init__(self, monkeypatch):
        self.timed = []
        self.cpu_ms = {"reference": 4.0, "candidate": 6.0}
        monkeypatch.setattr(costs, "export_wrapped", self._export)
        self.processor = "a processor"

    def _export(self, _model, artifact, _info, _normalisation):
        artifact.write_bytes(b"x" * 2000)

    def cpu(self):
        return self.processor

    def time(self, artifacts, timing):
        assert all(artifact.exists() for artifact in artifacts.values())
        assert (timing.rounds, timing.warmup > 0, timing.size) == (3, True, (32, 32))
        self.timed.append(list(artifacts))
        return {name: stats(self.cpu_ms[name]) for name in artifacts}


@pytest.fixture
def bench(monkeypatch):
    return FakeBench(monkeypatch)


def values(measurements):
    return {measurement.metric: measurement.value for measurement in measurements}


def test_costs_are_complete_and_latency_is_relative_to_the_quiet_reference(bench, context, config):
    of = context(bench)
    bench.cpu_ms["reference"] = 10.0
    prepare_reference(of)
    # While other trials run, everything takes longer: the ratio of 1.5 holds.
    bench.cpu_ms = {"reference": 40.0, "candidate": 60.0}
    measured = measure_costs(config(), of)
    found = values(measured)
    assert set(found) == {"params_m", "macs_g", "size_mb", "latency_ms"}
    assert found["latency_ms"] == pytest.approx(15.0)
    assert found["size_mb"] == 0.002
    assert found["params_m"] > 0
    assert found["macs_g"] > 0


def test_an_architecture_is_measured_once_whatever_it_is_trained_with(bench, context, config):
    of = context(bench)
    prepare_reference(of)
    first = measure_costs(config(0), of)
    timed = len(bench.timed)
    training = {
        "learning_rate": 0.1,
        "weight_decay": 0.0,
        "alpha": 0.1,
        "gamma": 0.0,
        "class_weights": "balanced",
        "augmentation": "strong",
        "cutmix": 1.0,
        "optimizer": "sgd",
        "batch_size": 16,
    }
    assert measure_costs(config(1, **training), of) == first
    assert len(bench.timed) == timed


@pytest.mark.parametrize(
    "change",
    [{"decoder_width": 24}, {"decoder": "fpn"}, {"encoder": "resnet18"}, {"pruning_ratio": 0.5}],
)
def test_another_architecture_is_measured_anew(bench, context, config, change):
    of = context(bench)
    prepare_reference(of)
    first = values(measure_costs(config(), of))
    timed = len(bench.timed)
    second = values(measure_costs(config(**change), of))
    assert len(bench.timed) == timed + 1
    assert second["params_m"] != first["params_m"]


def test_another_target_is_measured_anew(bench, context, config):
    prepare_reference(context(bench))
    measure_costs(config(), context(bench))
    timed = len(bench.timed)
    measure_costs(config(), context(bench, target={"rounds": 3, "threads": 2}))
    assert len(bench.timed) == timed + 1


def test_the_reference_is_timed_alone_and_once(bench, context):
    of = context(bench)
    prepare_reference(of)
    prepare_reference(of)
    assert bench.timed == [["reference"]]
    kept = json.loads((of.folder.reference / "latency.json").read_text())
    assert kept == {"latency_ms": 4.0, "cpu": "a processor"}


def test_a_study_does_not_go_on_where_times_would_be_those_of_another_processor(bench, context):
    of = context(bench)
    prepare_reference(of)
    bench.processor = "another"
    with pytest.raises(UsageError, match="measured on a processor; given: another") as told:
        prepare_reference(of)
    assert str(of.study_root) in str(told.value)
    assert "--overwrite" in str(told.value)


def test_a_study_that_says_no_processor_goes_on(bench, context):
    of = context(bench)
    prepare_reference(of)
    (of.folder.reference / "latency.json").write_text('{"latency_ms": 4.0}')
    prepare_reference(of)
    assert bench.timed == [["reference"]]


def test_an_architecture_is_measured_once_a_processor(bench, context, config):
    of = context(bench)
    prepare_reference(of)
    measure_costs(config(), of)
    bench.processor = "another"
    assert measure_costs(config(), of)[-1].device == "cpu: another"
    assert bench.timed == [["reference"], *[["reference", "candidate"]] * 2]


def test_one_thread_is_ranked_by_processor_time_several_by_wall_time():
    both = stats(3.0, wall_ms=5.0)
    assert ranking_ms(both, TargetSettings(threads=1)) == 3.0
    assert ranking_ms(both, TargetSettings(threads=2)) == 5.0


def test_a_latency_says_what_it_was_measured_on():
    target = TargetSettings(threads=2)
    measured = latency_measurement(7.0, target, cpu="a processor", spread=0.5)
    assert (measured.metric, measured.value, measured.spread) == ("latency_ms", 7.0, 0.5)
    assert (measured.runtime, measured.device) == ("onnxruntime", "cpu: a processor")
    assert (measured.threads, measured.batch) == (2, 1)
