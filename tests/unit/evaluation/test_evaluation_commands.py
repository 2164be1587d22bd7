import json
import re

import pytest
from typer.testing import CliRunner

from automl.bundle.packing import pack_bundle
from automl.cli import evaluation_options
from automl.cli.main import app
from automl.errors import UsageError

BLOCKED = ("torch", "ray", "timm", "optuna", "albumentations", "scipy")


@pytest.mark.slow
def test_evaluate_prints_a_table_and_fills_a_folder_without_torch(cli, bundle, photos, tmp_path):
    done = cli(
        *("evaluate", bundle, "--data", photos, "--out", "out", "--worst", 2),
        *("--metrics", "dice,iou,boundary_f1,hausdorff_95,panoptic_components"),
        *("--tolerance", "2", "--tta-scales", "1,1.5", "--tta-flip", "--window", "40x40"),
        blocked=BLOCKED,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1] == "data       photos: 4 images of test at their own sizes"
    assert "windows of 40 x 40" in lines[2]
    assert lines[3] == "boundary   within 2 pixels"
    heads = [line for line in lines if line.startswith("class ")]
    assert heads[0].split()[:4] == ["class", "images", "IoU", "Dice"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "evaluation.json",
        "images.parquet",
        "confusion.png",
        "gallery",
    }
    document = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert document["inference"]["scales"] == [1.0, 1.5]


@pytest.mark.slow
def test_compare_tells_scores_and_latency_without_torch(cli, bundle, photos, tmp_path):
    done = cli(
        *("compare", bundle, bundle, "--data", photos, "--rounds", 2, "--out", "cmp.json"),
        blocked=BLOCKED,
    )
    assert done.returncode == 0, done.stderr
    assert "the difference may be chance" in done.stdout
    assert "latency    A " in done.stdout
    assert json.loads((tmp_path / "cmp.json").read_text())["latency_ratio"] > 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--split", "tset"], "--split: given tset; allowed: train, val, test; did you mean test?"),
        (["--metrics", "iou,dise"], "did you mean dice?"),
        (["--tolerance", "far"], "--tolerance: given 'far'; allowed: pixels such as 2"),
        (["--tta-scales", "1,1"], "--tta-scales: given '1,1'; allowed: different numbers"),
        (["--tta-scales", "0.1"], "0.25 to 4"),
        (["--window", "512"], "--window: given '512'; allowed: height x width"),
        (["--out", "taken"], "--out: taken is a file"),
        (["--out", "BUNDLE/golden"], "which would be damaged"),
    ],
)
def test_options_that_cannot_be_are_told(bundle, photos, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    given = [word.replace("BUNDLE", str(bundle)) for word in words]
    asked = ["evaluate", str(bundle), "--data", str(photos), *given]
    with pytest.raises(UsageError, match=re.escape(told)):
        CliRunner().invoke(app, asked, catch_exceptions=False)


def test_pictures_without_matplotlib_are_refused_before_the_work(
    cli_here, bundle, photos, tmp_path, monkeypatch
):
    monkeypatch.setattr(evaluation_options, "find_spec", lambda _name: None)
    done = cli_here("evaluate", bundle, "--data", photos, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "--out: its pictures need matplotlib: pip install matplotlib" in done.stderr
    assert not (tmp_path / "out").exists()
    assert cli_here("evaluate", bundle, "--data", photos).returncode == 0


def test_a_packed_bundle_is_taken_as_its_folder(cli_here, bundle, photos, tmp_path):
    packed = tmp_path / "b.automl.zip"
    pack_bundle(bundle, packed)
    views = ("--data", photos, "--tta-flip")
    folder, file = (cli_here("evaluate", given, *views) for given in (bundle, packed))
    assert folder.returncode == 0, folder.stderr
    assert file.stdout.splitlines()[1:] == folder.stdout.splitlines()[1:]
    compared = cli_here("compare", packed, bundle, *views, "--split", "test", "--rounds", 2)
    assert compared.returncode == 0, compared.stderr
    assert "the difference may be chance" in compared.stdout
    timed = cli_here("benchmark", packed, bundle, "--rounds", 2)
    assert timed.returncode == 0, timed.stderr
