from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from automl.bundle.manifest import Manifest
from automl.errors import BundleError
from automl.records import Measurement, TrialStatus
from automl.stages import export as stage
from automl.stages.export import export, golden_images
from automl.stages.finalists import Repeated, Repeats
from automl.stages.rank import _ranking
from automl.stages.report import write_report

NONE = Repeats(metric="miou")


@pytest.fixture
def field(candidate):
    return [
        candidate("trial0-fp32", 0.60, 10.0, trial=0),
        candidate("trial1-int8", 0.70, 5.0, precision="int8", size_mb=1.0),
        candidate("trial2-fp32", 0.80, 40.0),
        candidate("trial3-student1-fp32", 0.50, 60.0, kind="student"),
    ]


# ---------------------------------------------------------------------- export


def test_golden_images_are_those_of_most_classes_the_last_at_another_size(split_of):
    split = split_of([[0], [0, 1], [0, 1, 2, 255], [0, 255], [0, 1]])
    images = golden_images(split, 3)
    assert [int(image.max()) for image in images] == [2, 1, 4]
    assert [image.shape for image in images[:2]] == [(32, 64, 3)] * 2
    assert images[2].shape != (32, 64, 3)
    assert all(image.dtype == np.uint8 for image in images)


def test_golden_images_are_no_more_than_there_are(split_of):
    assert len(golden_images(split_of([[0], [0, 1]]), 5)) == 2


@pytest.fixture
def written(monkeypatch):
    """In place of bundles on disk, what would be written, in order."""
    made = {}

    def write(destination, **parts):
        destination.mkdir()
        (destination / "model.onnx").write_bytes(b"x")
        # A staged bundle is called .NAME.SUFFIX
        name = destination.name.strip(".").split(".")[0]
        made[name] = SimpleNamespace(path=destination, verified=False, **parts)

    def verify(path):
        (own,) = [bundle for bundle in made.values() if bundle.path == path]
        own.verified = True

    monkeypatch.setattr(stage, "write_bundle", write)
    monkeypatch.setattr(stage, "verify_bundle", verify)
    return made


def test_a_bundle_for_each_of_the_front_and_the_best_first(study, field, written):
    of = study(export={"golden_samples": 2, "best_accuracy_share": 0.8})
    bundles = export(of, _ranking(of, field), NONE)
    assert list(bundles) == list(written) == ["best", "smallest", "trial1-int8", "trial2-fp32"]
    assert all(bundle.verified for bundle in written.values())
    assert bundles["best"] == of.folder.root / "bundles" / "best"
    assert all((path / "model.onnx").exists() for path in bundles.values())
    best = written["best"]
    assert best.artifact == of.folder.root / "candidates/trial1-int8/model.onnx"
    assert len(best.golden) == 2
    assert "toy-trial1-int8" in best.model_card


def test_the_named_bundles_alone_where_that_is_asked_for(study, field, written):
    of = study(export={"bundles": "best"})
    assert list(export(of, _ranking(of, field), NONE)) == list(written) == ["best", "smallest"]


def test_a_bundle_that_does_not_verify_ends_the_export(study, field, written, monkeypatch):
    def refuse(_path):
        raise BundleError("golden sample 0 differs")

    monkeypatch.setattr(stage, "verify_bundle", refuse)
    of = study()
    of.folder.bundle("best").mkdir(parents=True)
    (of.folder.bundle("best") / "sound").touch()
    with pytest.raises(BundleError, match="golden sample 0"):
        export(of, _ranking(of, field), NONE)
    assert len(written) == 1
    assert (of.folder.bundle("best") / "sound").exists(), "only a verified bundle may replace it"


def test_bundles_of_an_earlier_front_go(study, field, written):
    of = study(export={"bundles": "best"})
    of.folder.bundle("trial9-fp32").mkdir(parents=True)
    export(of, _ranking(of, field), NONE)
    assert sorted(path.name for path in of.folder.bundles.iterdir()) == ["best", "smallest"]


def test_a_manifest_tells_all_that_is_known(study, field, written):
    of = study(export={"best_accuracy_share": 0.8}, search={"seed": 3}, data={"split_seed": 4})
    export(of, _ranking(of, field), NONE)
    manifest = written["best"].manifest
    assert isinstance(manifest, Manifest)
    assert manifest.metrics == {"val": {"miou": 0.7, "dice": 0.7, "pixel_accuracy": 0.7}}
    assert manifest.latency.p50_ms == pytest.approx(5.5)
    assert manifest.latency.p95_ms == pytest.approx(7.5)
    assert manifest.latency.cpu_p50_ms == 5.0
    assert manifest.latency.ratio_to_default == 0.5
    assert (manifest.params_m, manifest.macs_g, manifest.size_mb) == (1.0, 0.25, 1.0)
    assert manifest.precision == "int8"
    assert manifest.classes == ("ground", "crack")
    assert tuple(manifest.input.size) == (32, 64)
    assert manifest.dataset_fingerprint == "f" * 64
    assert manifest.seeds == {"study": 3, "split": 4}


def test_a_manifest_tells_what_further_seeds_gave(study, field, candidate, written):
    again = {seed: seeded(candidate, seed, miou) for seed, miou in ((7, 0.60), (8, 0.70))}
    repeats = Repeats(metric="miou", wanted=2, files=(Repeated(candidate=field[1], again=again),))
    of = study(export={"best_accuracy_share": 0.8})
    export(of, _ranking(of, field), repeats)
    told = written["best"].manifest.further_seeds
    assert set(told) == {"val", "test"}
    assert (told["val"].metric, told["val"].count) == ("miou", 2)
    assert told["val"].mean == pytest.approx(0.65)
    assert told["val"].half_width == pytest.approx(0.6353, abs=1e-4)
    assert told["test"].mean == pytest.approx(0.55)
    assert "| val | miou | 0.6500 ± 0.6353 | 2 |" in written["best"].model_card
    assert written["trial2-fp32"].manifest.further_seeds == {}
    assert "further seeds" not in written["trial2-fp32"].model_card


def seeded(candidate, seed, miou):
    """What a further seed made, on test a tenth worse than on val."""
    made = candidate(f"seed{seed}", miou, 5.0)
    test = Measurement(metric="miou", value=miou - 0.1, split="test")
    return replace(made, measurements=(*made.measurements, test))


def test_without_a_default_there_is_no_ratio_and_wall_time_needs_no_processor_time(
    study, field, written
):
    of = study(target={"threads": 2})
    export(of, _ranking(of, field[1:]), NONE)
    latency = written["best"].manifest.latency
    assert latency.ratio_to_default is None
    assert latency.cpu_p50_ms is None
    assert latency.threads == 2


# ---------------------------------------------------------------------- report


def cells(line):
    return [cell.strip() for cell in line.strip("|").split(" | ")]


@pytest.fixture
def report(study, field, result, monkeypatch):
    """Write the report of four candidates and of the trials given; its lines."""
    drawn = []
    monkeypatch.setattr(
        "automl.stages.report.draw_front",
        lambda points, path, *, text: drawn.append((points, path, text)),
    )

    def write(*trials, repeats=NONE):
        of = study(export={"best_accuracy_share": 0.8}, search={"seed": 3})
        write_report(of, trials, _ranking(of, field), repeats)
        lines = of.folder.report_file.read_text().splitlines()
        return SimpleNamespace(lines=lines, drawn=drawn[0], text="\n".join(lines))

    return write


def rows_of(lines, heading):
    start = lines.index(heading) + 2
    table = lines[start : lines.index("", start)]
    assert set(table[1]) <= set("| -")
    return [cells(line) for line in (table[0], *table[2:])]


def test_a_report_counts_trials_and_says_how_it_measured(report, result):
    text = report(
        result(0, 0.6), result(1, 0.5, status=TrialStatus.STOPPED, reason="too slow")
    ).text
    assert text.startswith("# Study on toy\n")
    assert "train 6, val 3, test 2" in text
    assert "- trials: 1 completed, 1 stopped; 1.0 minutes of trials" in text
    assert "- front: 2 of 4 exported files" in text
    assert "seed 3" in text
    assert "miou 0, latency_ms 120" in text, "twice the default model"
    assert "CPU time of 1 thread" in text


def test_exported_files_are_listed_from_fast_to_slow_with_their_standing(report, result):
    head, *rows = rows_of(report(result(0, 0.6)).lines, "## Exported files")
    table = [dict(zip(head, row, strict=True)) for row in rows]
    assert [row["file"] for row in table] == [
        "trial1-int8",
        "trial0-fp32",
        "trial2-fp32",
        "trial3-student1-fp32",
    ]
    assert [row["note"] for row in table] == [
        "**best**, **smallest**, knee, front",
        "default",
        "front",
        "",
    ]
    assert [row["speed"] for row in table] == ["2.00", "1.00", "0.25", "0.17"]
    assert table[0]["kind"] == "trial INT8"
    assert table[3]["kind"] == "student FP32"
    assert (table[0]["mIoU val"], table[0]["mIoU test"]) == ("0.7000", "-")
    assert table[0]["network"] == "resnet18 fpn 64"


def test_each_trial_has_one_row_whatever_its_reason_says(report, result):
    lines = report(
        result(0, 0.6),
        result(1, None, status=TrialStatus.FAILED, reason="UsageError: a | b\nsecond line"),
    ).lines
    head, *rows = rows_of(lines, "## Trials")
    assert head == ["trial", "status", "epochs", "mIoU", "ms", "alpha", "reason"]
    assert rows[0] == ["0", "completed", "3", "0.6000", "10.00", "0", ""]
    assert rows[1][:6] == ["1", "failed", "0", "-", "10.00", "0.01"]
    assert rows[1][6] == r"UsageError: a \| b second line"


def test_the_picture_shows_every_candidate_and_counts_what_it_does_not(report, result):
    points, path, text = report(
        result(0, 0.6), result(1, 0.5, status=TrialStatus.STOPPED, reason="x")
    ).drawn
    assert path.name == "front.png"
    assert [point.on_front for point in points] == [False, True, True, False]
    assert [point.is_default for point in points] == [True, False, False, False]
    assert [point.is_best for point in points] == [False, True, False, False]
    assert (points[1].latency_ms, points[1].accuracy) == (5.0, 0.7)
    assert text.not_drawn == {"stopped": 1}


def test_a_report_says_what_further_seeds_gave_or_that_there_were_none(
    report, result, field, candidate
):
    alone = report(result(0, 0.6))
    assert "- one seed a model: differences of a point of mIoU may be chance" in alone.lines
    assert "## Seeds" not in alone.lines
    again = {7: seeded(candidate, 7, 0.60), 8: seeded(candidate, 8, 0.70)}
    files = (Repeated(candidate=field[1], again=again),)
    lines = report(result(0, 0.6), repeats=Repeats(metric="miou", wanted=3, files=files)).lines
    start = lines.index("## Seeds")
    assert lines.index("## Exported files") < start < lines.index("## Trials")
    table = [cells(line) for line in lines[start:] if line.startswith("| trial1-int8")]
    name = "trial1-int8 (best, smallest)"
    assert table[0] == [name, "val", "0.7000", "0.6000, 0.7000", "0.6500 ± 0.6353", "2 of 3"]
    assert table[1] == [name, "test", "-", "0.5000, 0.6000", "0.5500 ± 0.6353", "2 of 3"]
    (chance,) = [line for line in lines if line.startswith("- one seed a model")]
    assert "see Seeds" in chance
