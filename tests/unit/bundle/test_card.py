import pytest

from automl.bundle.card import model_card


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


@pytest.mark.parametrize(("threads", "time"), [(1, "processor time"), (2, "wall time")])
def test_ratio_is_named_after_the_time_that_it_compares(make_manifest, threads, time):
    latency = make_manifest().latency.model_copy(update={"threads": threads})
    card = model_card(make_manifest(latency=latency))
    (line,) = [line for line in card.splitlines() if "against the default" in line]
    assert line == f"| {time} against the default model | 0.60 x |"


def test_bar_in_a_name_does_not_break_the_table(make_manifest):
    card = model_card(make_manifest(classes=("a|b", "c", "d", "e", "f")))
    assert "| 0 | a\\|b |" in card
