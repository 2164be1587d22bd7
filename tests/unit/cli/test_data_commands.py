import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from automl.cli.data import data_app
from automl.data.dataset import open_dataset
from automl.errors import DataError, UsageError


def run(*words):
    return CliRunner().invoke(data_app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture
def folder(tmp_path):
    """Three classes; one pixel of the third in train, none in val."""
    root = tmp_path / "toy"
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for index in range(count):
            image = rng.integers(0, 255, (64, 64, 3), np.uint8)
            mask = np.repeat(np.arange(2, dtype=np.uint8), 32)[:, None].repeat(64, axis=1)
            if split == "train" and index == 2:
                mask[0, 0] = 2
            Image.fromarray(image).save(root / split / "images" / f"{index}.png")
            Image.fromarray(mask).save(root / split / "masks" / f"{index}.png")
    (root / "dataset.yaml").write_text("classes: [low, high, dot]\n")
    return root


def test_check_tells_what_training_at_a_size_would_lose(folder):
    assert run("check", folder).exit_code == 0
    done = run("check", folder, "--size", 32, 32)
    assert done.exit_code == 2
    held = folder / "train/images/2.png"
    problem = f"no train pixel of class 'dot' (most of it had {held}, 1 pixels) is left at 32x32"
    assert problem in done.output
    with pytest.raises(DataError) as caught:
        run("import", folder, folder.parent / "imported", "--size", 32, 32)
    assert problem in str(caught.value)
    with pytest.raises(UsageError, match="two multiples of 32"):
        run("check", folder, "--size", 30, 32)


def test_import_tells_the_warnings_of_a_check(folder, tmp_path):
    warning = "class 'dot' is absent from val: it is not scored there"
    assert f"note: {warning}" in run("check", folder).output
    done = run("import", folder, tmp_path / "imported", "--size", 64, 64)
    assert f"warning    {warning}" in done.output


def test_check_knows_an_imported_dataset(folder, tmp_path):
    place = tmp_path / "imported"
    run("import", folder, place, "--size", 64, 64)
    done = run("check", place)
    assert done.exit_code == 0
    assert f"{place}: imported already; nothing is left to check" in done.output
    assert "dataset    toy: 4 train, 2 val, 2 test images at 64 x 64" in done.output
    with pytest.raises(DataError, match="was imported at"):
        run("check", place, "--size", 32, 32)


def test_check_knows_the_dataset_that_is_made_here(monkeypatch, tmp_path):
    monkeypatch.setenv("AUTOML_CACHE", str(tmp_path))
    done = run("check", "builtin:surface-defects", "--size", 32, 32)
    assert done.exit_code == 0
    assert "builtin:surface-defects: made by this program; nothing is left to check" in done.output
    assert "240 train, 60 val, 60 test images" in done.output


def test_check_tells_what_is_no_dataset(tmp_path):
    (tmp_path / "data.zip").write_text("")
    with pytest.raises(DataError, match=r"data\.zip: a file: a dataset is a folder"):
        run("check", tmp_path / "data.zip")
    with pytest.raises(DataError, match=r"unknown dataset 'builtin:nothing': built in are"):
        run("check", "builtin:nothing")


DECLARED = """
augmentation_policies:
  mine: [horizontal_flip, {gamma: {magnitude: {float: [0, 1]}}}]
space: {augmentation: mine}
data: {size: [64, 64]}
"""


def test_preview_draws_what_training_sees(folder, tmp_path):
    space = tmp_path / "mine.yaml"
    space.write_text(DECLARED)
    drawn = {}
    for name, words in {
        "none": ["--policy", "none"],
        "strong": ["--policy", "strong"],
        "strong again": ["--policy", "strong"],
        "other": ["--policy", "strong", "--seed", 1],
        "declared": ["--policy", "mine", "--space", space],
        "mixup": ["--policy", "none", "--mix", "mixup"],
    }.items():
        out = tmp_path / "new" / f"{name}.png"
        done = run("preview", folder, "--size", 64, 64, "--count", 3, "--out", out, *words)
        assert done.exit_code == 0, done.output
        drawn[name] = np.asarray(Image.open(out))
        height, width, _ = drawn[name].shape
        assert f"{width} x {height} pixels" in done.output
    assert np.array_equal(drawn["strong"], drawn["strong again"])
    assert len({picture.tobytes() for picture in drawn.values()}) == 5
    assert (
        "augmentation mine"
        in run(
            "preview", folder, "--policy", "mine", "--space", space, "--out", tmp_path / "small.png"
        ).output
    )


def test_preview_tells_what_does_not_exist(folder, tmp_path):
    for words, told in (
        (["--policy", "stronk"], "allowed: none, light, .*; did you mean strong?"),
        (["--mix", "cutmixx"], "allowed: copy_paste, classmix, cutmix, mixup; did you mean cutmix"),
        (["--out", tmp_path / "a.jpg"], "allowed: a file that ends in .png"),
    ):
        with pytest.raises(UsageError, match=told):
            run("preview", folder, "--out", tmp_path / "a.png", *words)


def test_import_and_preview_letterbox_where_that_is_asked_for(folder, tmp_path):
    done = run("import", folder, tmp_path / "boxed", "--size", 64, 128, "--resize", "letterbox")
    assert "at 64 x 128 (height x width), letterboxed" in done.output
    info = open_dataset(tmp_path / "boxed").info
    assert info.resize.is_letterbox
    picture = tmp_path / "sheet.png"
    words = ["--out", picture, "--size", 64, 128, "--resize", "letterbox", "--count", 1]
    assert run("preview", tmp_path / "boxed", *words).exit_code == 0
    with pytest.raises(DataError, match="imported with resize letterbox, stretch is asked for"):
        run("preview", tmp_path / "boxed", *words[:-4], "--resize", "stretch")
    assert run("check", folder, "--size", 64, 128, "--resize", "letterbox").exit_code == 0
    with pytest.raises(UsageError, match="--resize: given 'fit'; allowed: stretch, letterbox"):
        run("check", folder, "--resize", "fit")
