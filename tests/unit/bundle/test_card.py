import pytest
from pydantic import ValidationError

from automl.bundle.card import model_card
from automl.bundle.manifest import InputContract
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


@pytest.mark.parametrize(("threads", "time"), [(1, "processor time"), (2, "wall time")])
def test_ratio_is_named_after_the_time_that_it_compares(make_manifest, threads, time):
    latency = make_manifest().latency.model_copy(update={"threads": threads})
    card = model_card(make_manifest(latency=latency))
    (line,) = [line for line in card.splitlines() if "against the default" in line]
    assert line == f"| {time} against the default model | 0.60 x |"


def test_bar_in_a_name_does_not_break_the_table(make_manifest):
    card = model_card(make_manifest(classes=("a|b", "c", "d", "e", "f")))
    assert "| 0 | a\\|b |" in card
