import pytest
from pydantic import ValidationError

from automl.bundle.card import model_card
from automl.bundle.inspection import inspection_lines
from automl.bundle.manifest import ImageIntervals, InputContract
from automl.resize import Resize


def test_card_tells_what_the_manifest_knows(make_manifest):
    card = model_card(make_manifest())
    for told in (
        "# 0003-abcdef12-int8",
        "48 x 32 pixels",
        "| 3 | rust | #",
        "on images and masks resized to 48 x 32 pixels (width x height)",
        "| val | miou | 0.7100 |",
        "| test | miou | 0.6900 |",
        "| latency, median | 4.20 ms |",
        "| processor time against the default model | 0.60 x |",
        "onnxruntime on cpu, 1 thread, batch 1",
        "| teacher | 0003-abcdef12 |",
        "| recipe `pruning_ratio` | 0.5 |",
        "| sampled `encoder` | mobilenetv3_small_100 |",
        "| seed `trial` | 17 |",
        "| package `numpy` |",
        "fingerprint " + "f" * 64,
        "2025-01-02T03:04:05+00:00",
    ):
        assert told in card


def test_card_tells_the_runtime_and_what_running_it_there_takes(make_manifest):
    assert "INT8 network for ONNX Runtime" in model_card(make_manifest())
    card = model_card(make_manifest(metrics_runtime="openvino"))
    assert "INT8 network for OpenVINO" in card
    assert "Of this file, run in OpenVINO" in card
    assert "pip install 'automl[openvino]'" in card
    assert "automl bundle batch . --size 1 --out one.onnx" in card


def test_card_tells_how_images_come_to_the_network(make_manifest):
    plain = make_manifest()
    assert "images are stretched to that" in model_card(plain)
    resize = Resize(mode="letterbox", padding=(124, 116, 4))
    boxed = plain.model_copy(update={"input": plain.input.model_copy(update={"resize": resize})})
    card = model_card(boxed)
    assert "letterboxed to that: their ratio of sides is kept, the rest is #7c7404" in card
    assert "on images and masks letterboxed to 48 x 32 pixels (width x height)" in card


def test_a_letterbox_without_a_colour_is_no_manifest(make_manifest):
    contract = make_manifest().input
    with pytest.raises(ValidationError, match="must name the colour of its padding"):
        InputContract(
            size=contract.size,
            normalisation=contract.normalisation,
            resize=Resize(mode="letterbox"),
        )


@pytest.fixture
def scored(make_manifest):
    """A manifest with scores of classes and their intervals; the last class is not in val."""
    names = make_manifest().classes
    values = {"miou": 0.71, "dice": 0.8} | {f"iou.{name}": 0.5 for name in names[:-1]}
    bounds = {"miou": (0.65, 0.7512), f"iou.{names[1]}": (0.25, 0.625)}
    found = ImageIntervals(images=40, resamples=2000, seed=0, bounds=bounds)
    return make_manifest(metrics={"val": values}, intervals={"val": found})


def test_card_tells_intervals_and_what_they_are_not(scored):
    card = model_card(scored)
    assert "| split | metric | value | 95 % interval |" in card
    assert "| val | miou | 0.7100 | [0.6500, 0.7512] |" in card
    assert "| val | dice | 0.8000 |  |" in card
    assert "2000 bootstrap resamples of the images (40 of val; seed 0)" in card
    assert "not how much another training would" in card
    assert "bootstrap" not in model_card(scored.model_copy(update={"intervals": {}}))


def test_inspection_has_a_row_a_class(scored):
    lines = inspection_lines(scored)
    assert "schema_version 3" in lines[0]
    assert "32 x 48 (height x width) inside, images stretched" in lines[1]
    assert "4.20 ms an image in onnxruntime on cpu, 1 thread(s)" in lines[2]
    rows = {line.split("  ")[0]: line for line in lines[6:]}
    assert lines[3] == "scores     in ONNX Runtime"
    assert rows["class"].split("  ", 1)[1].strip() == "IoU on val"
    assert rows["all classes"].endswith("0.7100 [0.6500, 0.7512]")
    assert rows[scored.classes[1]].endswith("0.5000 [0.2500, 0.6250]")
    assert rows[scored.classes[2]].endswith("0.5000")
    assert rows[scored.classes[-1]].endswith("-")
    assert lines[-1].startswith("Intervals: the middle 95 %")


@pytest.mark.parametrize(("threads", "time"), [(1, "processor time"), (2, "wall time")])
def test_ratio_is_named_after_the_time_that_it_compares(make_manifest, threads, time):
    latency = make_manifest().latency.model_copy(update={"threads": threads})
    card = model_card(make_manifest(latency=latency))
    (line,) = [line for line in card.splitlines() if "against the default" in line]
    assert line == f"| {time} against the default model | 0.60 x |"


def test_bar_in_a_name_does_not_break_the_table(make_manifest):
    card = model_card(make_manifest(classes=("a|b", "c", "d", "e", "f")))
    assert "| 0 | a\\|b |" in card
