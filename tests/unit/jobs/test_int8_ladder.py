"""A ladder climbed on files: what is kept, and what a killed run does not do again."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from automl.bundle.network import export_network
from automl.bundle.wrap import wrap_network
from automl.compression.ladder import Quality, Speed
from automl.errors import TrialError
from automl.jobs import int8_ladder
from automl.jobs.int8_ladder import LadderTask, calibration_images, climb_ladder
from automl.jobs.int8_rungs import RUNG_KINDS, Material, RungKind
from automl.jobs.scoring import score_file
from automl.measurement.latency import LatencyStats
from automl.space.compression import RUNG_NAMES, Int8Settings

QUALITY = Quality(miou=0.5, iou={"ground": 0.9, "red": 0.1})


def stats(ms):
    return LatencyStats(
        p50_ms=ms, p95_ms=ms, p99_ms=ms, cpu_p50_ms=ms, spread_ms=0.0, cpu_spread_ms=0.0
    )


class FakeMeter:
    """Gives each file what its content says, and INT8 the speed that it is told."""

    def __init__(self, ratio=2.0, qualities=None):
        self.ratio = ratio
        self.qualities = {} if qualities is None else qualities
        self.timed = 0

    def runtime(self):
        return "a runtime"

    def cpu(self):
        return "a processor"

    def quality(self, artifact):
        return self.qualities.get(artifact.read_bytes(), QUALITY)

    def speed(self, _before, _after):
        self.timed += 1
        return Speed.of(stats(self.ratio), stats(1.0), threads=1)


@pytest.fixture
def made(monkeypatch):
    """Rungs that write their own name, in order as they are made."""
    seen = []

    def kind(name):
        def make(_material, destination):
            seen.append(name)
            if name == "broken":
                raise TrialError("it cannot be made")
            destination.write_bytes(name.encode())
            return {"images": 3}

        return RungKind(make)

    kinds = {name: kind(name) for name in ("poor", "broken", "good", "never")}
    monkeypatch.setattr(int8_ladder, "RUNG_KINDS", kinds)
    return seen


@pytest.fixture
def task(tmp_path):
    """Make a task on the rungs of `made`."""

    def make(meter, rungs=("poor", "broken", "good", "never"), **settings):
        folder = tmp_path / "float"
        folder.mkdir(exist_ok=True)
        (folder / "model.onnx").write_bytes(b"float" * 9)
        return LadderTask(
            network="net",
            folder=tmp_path / "ladder",
            float_artifact=folder / "model.onnx",
            rungs=rungs,
            material=Material(core=folder / "core.onnx", calibration=iter, images=4, tune=None),
            wrap=lambda path: path.write_bytes(path.with_name("core.onnx").read_bytes()),
            meter=meter,
            gates=Int8Settings(**settings),
        )

    return make


POOR = {b"poor": Quality(miou=0.3, iou={"ground": 0.9, "red": 0.0})}


def test_rungs_are_tried_until_one_passes_and_all_that_they_scored_is_kept(task, made, tmp_path):
    heard = []
    ladder = climb_ladder(task(FakeMeter(qualities=POOR)), heard.append)
    assert made == ["poor", "broken", "good"]
    assert (ladder.chosen, ladder.runtime, ladder.network) == ("good", "a runtime", "net")
    assert tuple(heard) == ladder.rungs
    poor, broken, good = ladder.rungs
    assert poor.outcome == "refused"
    assert poor.drop == pytest.approx(0.2)
    assert (poor.worst_class, poor.class_drop) == ("red", pytest.approx(0.1))
    assert poor.speed.ratio == 2.0
    assert (broken.outcome, broken.reason, broken.quality) == ("refused", "it cannot be made", None)
    assert good.outcome == "accepted"
    assert good.recipe == {"images": 3}
    on_disk = json.loads((tmp_path / "ladder" / "poor" / "rung.json").read_text())
    assert on_disk["speed"]["float_stats"]["cpu_p50_ms"] == 2.0
    assert on_disk["quality"]["iou"] == {"ground": 0.9, "red": 0.0}
    assert on_disk["seconds"] > 0


def test_a_killed_ladder_goes_on_at_the_rung_that_was_not_finished(task, made, tmp_path):
    class Killed(BaseException):
        pass

    class DiesAt(FakeMeter):
        def speed(self, before, after):
            if after.read_bytes() == b"good":
                raise Killed
            return super().speed(before, after)

    with pytest.raises(Killed):
        climb_ladder(task(DiesAt(qualities=POOR)), lambda _rung: None)
    assert sorted(path.name for path in (tmp_path / "ladder").glob("[a-z]*")) == ["broken", "poor"]
    made.clear()
    meter = FakeMeter(qualities=POOR)
    ladder = climb_ladder(task(meter), lambda _rung: None)
    assert made == ["good"], "a finished rung is not made again"
    assert meter.timed == 1
    assert [rung.name for rung in ladder.rungs] == ["poor", "broken", "good"]


def test_a_slower_rung_is_kept_for_its_size_or_refused(task, made):
    ladder = climb_ladder(task(FakeMeter(ratio=0.8), rungs=("good",)), lambda _rung: None)
    assert (ladder.chosen, ladder.rungs[0].outcome) == ("good", "smaller")


def test_with_faster_alone_allowed_a_slower_rung_ships_as_float(task, made):
    of = task(FakeMeter(ratio=0.8), rungs=("good", "never"), allow_slower_if_smaller=False)
    ladder = climb_ladder(of, lambda _rung: None)
    assert ladder.chosen is None
    assert made == ["good"], "none that is laid out as it is faster"
    assert ladder.reason.startswith("int8 refused: good: 20 % slower than FP32")


def test_a_network_that_collapses_under_int8_is_not_shipped_as_int8(dataset, tmp_path):
    """Its decision hangs on a small signal beside a huge channel: uint8 keeps only the latter."""
    core = tmp_path / "float" / "core.onnx"
    core.parent.mkdir()
    export_network(_planted(), size=(32, 32), path=core)

    def wrap(path):
        wrap_network(
            path.with_name("core.onnx"),
            path,
            normalisation=dataset.info.normalisation,
            size=(32, 32),
            num_classes=3,
        )

    wrap(core.with_name("model.onnx"))

    class OnVal(FakeMeter):
        def quality(self, artifact):
            scored = score_file(artifact, dataset, "val", threads=1, runtime="onnxruntime")
            return int8_ladder.quality_of_measurements({m.metric: m.value for m in scored})

    ladder = climb_ladder(
        LadderTask(
            network="planted",
            folder=tmp_path / "ladder",
            float_artifact=core.with_name("model.onnx"),
            rungs=("per_tensor", "per_channel", "qat"),
            material=Material(
                core=core,
                calibration=lambda n: calibration_images(dataset, dataset.info.normalisation, n),
                images=4,
                tune=None,
            ),
            wrap=wrap,
            meter=OnVal(ratio=3.0),
            gates=Int8Settings(),
        ),
        lambda _rung: None,
    )
    assert ladder.float_quality.iou["red"] > 0.4, "the float network finds the red squares"
    assert ladder.chosen is None
    assert [rung.outcome for rung in ladder.rungs] == ["refused"] * 3
    assert ladder.rungs[1].class_drop > 0.1
    assert "loses" in ladder.rungs[1].reason
    assert "give the checkpoint" in ladder.rungs[2].reason


def _planted():
    """Red minus green decides; beside it runs brightness times 1e4, which is then ignored."""
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Identity(), nn.Conv2d(2, 3, 1))
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.weight.zero_()
            layer.bias.zero_()
        net[0].weight[0, :, 0, 0] = torch.tensor([1.0, -1.0, 0.0])
        net[0].weight[1, :, 0, 0] = 1e4
        net[2].weight[1, 0] = 1.0
        net[2].weight[2, 0] = -1.0
        net[2].bias[0] = 0.9
    return net.eval()


def test_every_rung_of_the_settings_is_known():
    assert set(RUNG_KINDS) == set(RUNG_NAMES)


def test_calibration_images_are_spread_over_the_split_and_normalised(dataset):
    images = list(calibration_images(dataset, dataset.info.normalisation, 3))
    assert [image.shape for image in images] == [(1, 3, 32, 32)] * 3
    assert all(image.dtype == np.float32 for image in images)
    first = np.array(dataset.split("train").image(7)).transpose(2, 0, 1)[None]
    mean = np.array(dataset.info.normalisation.mean).reshape(1, 3, 1, 1)
    std = np.array(dataset.info.normalisation.std).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(images[-1], (first - mean) / std, atol=1e-4)
