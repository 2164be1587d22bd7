"""`automl prune` without the command line: what is refused, kept, trained and not trained again."""

import json

import pytest

from automl.bundle.verify import verify_bundle
from automl.compression.ladder import Quality, Speed
from automl.data.importing import cached_dataset
from automl.errors import UsageError
from automl.jobs.network import build_network
from automl.jobs.trained import TrainedNetwork, write_trained
from automl.measurement.latency import LatencyStats
from automl.space.experiment import Experiment
from automl.space.parameters import parameters_from
from automl.space.pruning import PruningSettings
from automl.stages import prune as stage
from automl.stages.prune import prune_network
from automl.stages.prune_plan import PruneRequest, plan_pruning

DATA = "builtin:surface-defects"
SAMPLE = {"encoder": "mobilenetv3_small_050", "decoder_width": 16, "batch_size": 16}


@pytest.fixture
def weights(cache, tmp_path, monkeypatch):
    """The folder that a training leaves, of an untrained network."""
    monkeypatch.setenv("AUTOML_CACHE", str(cache))
    info = cached_dataset(DATA, size=(32, 32), cache=cache).info
    plain = {"data": {"size": [32, 32]}, "space": SAMPLE, "train": {"device": "cpu"}}
    network = TrainedNetwork(
        name="made/0",
        params=SAMPLE,
        normalisation=info.normalisation,
        dataset=info,
        experiment=Experiment.from_json(plain).to_json(),
    )
    model = build_network(parameters_from(SAMPLE), info, seed=0)
    write_trained(tmp_path / "weights", network, model.state_dict())
    return tmp_path / "weights"


class FakeMeter:
    """A stopwatch with the speeds that it is told, one a call, and what it was asked to time."""

    def __init__(self, *speedups):
        self._speedups = list(speedups)
        self.timed = []

    def runtime(self):
        return "onnxruntime"

    def cpu(self):
        return "a processor"

    def quality(self, artifact):
        assert artifact.stat().st_size
        return Quality(miou=0.5, iou={})

    def speed(self, float_artifact, artifact):
        self.timed.append(artifact.parent.name)
        still = {"p95_ms": 9, "p99_ms": 9, "spread_ms": 0, "cpu_spread_ms": 0}
        ms = (self._speedups.pop(0), 1.0)
        return Speed.of(
            *(LatencyStats(p50_ms=m, cpu_p50_ms=m, **still) for m in ms),
            threads=1,
        )


def request(weights, tmp_path, **changes):
    plain = PruneRequest(
        model=weights,
        data=None,
        out=tmp_path / "out",
        ratios=(0.3, 0.6),
        how=PruningSettings(),
        epochs=1,
        learning_rate=None,
        min_speedup=1.05,
        threads=1,
        rounds=3,
    )
    return PruneRequest(
        **{name: changes.get(name, getattr(plain, name)) for name in plain.__dataclass_fields__}
    )


def test_what_is_not_faster_is_refused_untrained_and_what_is_ends_in_a_verified_bundle(
    weights, tmp_path
):
    heard = []
    meter = FakeMeter(1.04, 1.4, 1.3)
    done = prune_network(plan_pruning(request(weights, tmp_path)), meter, heard.append)
    assert [p.ratio for p in heard] == [0.0, 0.3, 0.6]
    refused, kept = done.points
    assert refused.pace.verdict == (
        "refused: 4 % faster than before pruning (at least 1.05 x the speed is needed)"
    )
    assert refused.bundle is None
    assert meter.timed == ["pruned", "pruned", "tuned"]
    assert not (tmp_path / "out" / "ratio-0.3" / "checkpoint").exists()
    assert (tmp_path / "out" / "ratio-0.6" / "checkpoint").exists()
    assert kept.pace.verdict == "accepted: 30 % faster than before pruning"
    assert done.whole.macs_g > refused.macs_g > kept.macs_g
    assert done.whole.size_mb > refused.size_mb > kept.size_mb
    manifest = json.loads(
        (tmp_path / "out/bundles/surface-defects-pruned-0.6/bundle.json").read_text()
    )
    assert manifest["lineage"]["recipe"]["pruning"] == kept.pace.verdict
    assert manifest["lineage"]["teacher"] == "made/0"
    assert manifest["macs_g"] == kept.macs_g
    verify_bundle(tmp_path / "out" / "bundles" / "surface-defects-pruned-0.6")
    # The same again measures and trains nothing; another ratio is made beside what is there.
    again = prune_network(plan_pruning(request(weights, tmp_path)), FakeMeter(), heard.append)
    assert again == done
    more = request(weights, tmp_path, ratios=(0.3, 0.5))
    points = prune_network(plan_pruning(more), FakeMeter(0.9), heard.append).points
    assert [point.ratio for point in points] == [0.3, 0.5]


def test_a_network_that_is_slower_once_it_is_tuned_is_refused(weights, tmp_path):
    plan = plan_pruning(request(weights, tmp_path, ratios=(0.6,)))
    done = prune_network(plan, FakeMeter(1.4, 1.0), lambda _point: None)
    assert done.points[0].pace.verdict.startswith("refused: as fast as before pruning")
    assert not (tmp_path / "out" / "bundles").exists()


def test_without_epochs_nothing_is_trained(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "fit", lambda *_given, **_named: pytest.fail("trained"))
    plan = plan_pruning(request(weights, tmp_path, ratios=(0.6,), epochs=0))
    meter = FakeMeter(1.4)
    assert prune_network(plan, meter, lambda _point: None).points[0].bundle is not None
    assert meter.timed == ["pruned"]


def test_a_killed_fine_tuning_goes_on_from_its_checkpoint(weights, tmp_path, monkeypatch):
    how = PruningSettings(steps=2, importance="taylor", scope="global")
    asked = request(weights, tmp_path, ratios=(0.6,), epochs=2, how=how)
    real, begun = stage.fit, []

    def killed(*given, checkpoint_folder, **named):
        begun.append((checkpoint_folder.name, checkpoint_folder.exists()))
        if len(begun) == 2:
            raise KeyboardInterrupt
        return real(*given, checkpoint_folder=checkpoint_folder, **named)

    monkeypatch.setattr(stage, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        prune_network(plan_pruning(asked), FakeMeter(1.4), lambda _point: None)
    done = prune_network(plan_pruning(asked), FakeMeter(1.4, 1.4), lambda _point: None)
    assert done.points[0].bundle is not None
    assert begun == [
        ("checkpoint-step1", False),
        ("checkpoint", False),
        ("checkpoint-step1", True),
        ("checkpoint", False),
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ratios": (0.95,)}, "--ratio: given 0.95; allowed: above 0 and up to 0.9"),
        ({"ratios": (0.5, 0.5)}, "each once"),
        ({"ratios": ()}, "--ratio"),
        ({"how": PruningSettings(steps=2)}, "--steps: given 2; allowed: 1 to 1"),
        ({"data": "no-such-folder"}, "no-such-folder"),
    ],
)
def test_bad_requests_are_told_before_any_work(weights, tmp_path, changes, told):
    with pytest.raises(UsageError) as caught:
        plan_pruning(request(weights, tmp_path, **changes))
    assert told in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_another_request_does_not_go_on_in_the_same_folder(weights, tmp_path):
    plan_pruning(request(weights, tmp_path))
    with pytest.raises(UsageError, match="holds prunings of another request \\(other: epochs\\)"):
        plan_pruning(request(weights, tmp_path, epochs=3))
