"""`automl predict` in windows and views, against the same arithmetic in plain loops."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from automl.bundle.inference import InferencePlan, predictor
from automl.bundle.loading import Bundle

#: Of the network.
SIZE = (32, 48)
IMAGE = (70, 131)
#: Of two probabilities that rounding may exchange.
NEAR = 1e-3


def noise(size, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (size[0] // 7 + 1, size[1] // 7 + 1, 3))
    return np.kron(coarse, np.ones((7, 7, 1)))[: size[0], : size[1]].astype(np.uint8)


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(noise(IMAGE)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def starts(length, window, overlap):
    count = math.ceil((length - window) / math.floor(window * (1 - overlap))) + 1
    return [round((length - window) * place / (count - 1)) for place in range(count)]


@pytest.fixture
def stitched(net, bundle):
    """Probabilities (K, H, W) of the network on windows of its own size, which resizes nothing."""
    contract = Bundle.load(bundle).manifest.input
    assert contract.size == SIZE

    def of(image_hwc, overlap):
        normal = (image_hwc - np.array(contract.normalisation.mean)) / contract.normalisation.std
        return in_windows(net, normal.astype(np.float32), overlap)

    return of


def in_windows(net, image_hwc, overlap):
    height, width = image_hwc.shape[:2]
    total = np.zeros((5, height, width))
    shares = np.zeros((height, width))
    for top in starts(height, SIZE[0], overlap):
        for left in starts(width, SIZE[1], overlap):
            window = image_hwc[top : top + SIZE[0], left : left + SIZE[1]]
            with torch.no_grad():
                logits = net(torch.from_numpy(window).permute(2, 0, 1)[None])[0].double().numpy()
            for row in range(SIZE[0]):
                for column in range(SIZE[1]):
                    weight = math.sin(math.pi * (row + 0.5) / SIZE[0]) ** 2
                    weight *= math.sin(math.pi * (column + 0.5) / SIZE[1]) ** 2
                    total[:, top + row, left + column] += weight * logits[:, row, column]
                    shares[top + row, left + column] += weight
    powers = np.exp(total / shares)
    return powers / powers.sum(axis=0)


def check_mask(mask_hw, expected_khw):
    """Equal wherever the first class is ahead by more than rounding."""
    ordered = np.sort(expected_khw, axis=0)
    clear = ordered[-1] - ordered[-2] > NEAR
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(mask_hw[clear], expected_khw.argmax(axis=0)[clear])


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_windows_give_the_mask_that_plain_loops_stitch(cli_here, bundle, stitched, photo, tmp_path):
    done = cli_here(
        *("predict", bundle, photo, "--out", "mask.png"),
        *("--window", f"{SIZE[0]}x{SIZE[1]}", "--overlap", 0.5),
    )
    assert done.returncode == 0, done.stderr
    check_mask(read(tmp_path / "mask.png"), stitched(noise(IMAGE), 0.5))
    plain = Bundle.load(bundle).predict(noise(IMAGE))
    assert (read(tmp_path / "mask.png") != plain).mean() > 0.05
    lines = done.stdout.splitlines()
    assert lines[0].startswith("mask.png: 131 x 70 pixels, in ")
    assert lines[1] == "masks by windows of 32 x 48, 50% overlap, Hann weights"


def test_views_are_averaged_as_probabilities(cli_here, bundle, stitched, photo, tmp_path):
    """At scale 2 a window of twice the network's sides is seen in windows of its own size."""
    done = cli_here(
        *("predict", bundle, photo, "--out", "mask.png", "--tta-scales", "2", "--tta-flip"),
        *("--window", f"{2 * SIZE[0]}x{2 * SIZE[1]}", "--overlap", 0.3),
    )
    assert done.returncode == 0, done.stderr
    image = noise(IMAGE)
    mirrored = stitched(image[:, ::-1], 0.3)[:, :, ::-1]
    check_mask(read(tmp_path / "mask.png"), (stitched(image, 0.3) + mirrored) / 2)
    assert "masks by probabilities of 2 views (scale 2, each also mirrored); windows of 64" in (
        done.stdout
    )


def test_images_of_a_folder_get_what_evaluate_scores(cli_here, bundle, tmp_path):
    (tmp_path / "photos").mkdir()
    for seed, size in enumerate([(61, 83), (20, 30)]):
        Image.fromarray(noise(size, seed)).save(tmp_path / "photos" / f"{seed}.png")
    done = cli_here(
        *("predict", bundle, "photos", "--out", "masks", "--window", "40x30"),
        *("--tta-scales", "0.75,1.5"),
    )
    assert done.returncode == 0, done.stderr
    plan = InferencePlan(window=(40, 30), scales=(0.75, 1.5))
    scored = predictor(Bundle.load(bundle), plan, threads=1)
    for seed, size in enumerate([(61, 83), (20, 30)]):
        mask = read(tmp_path / "masks" / f"{seed}.png")
        np.testing.assert_array_equal(mask, scored(noise(size, seed)))
    lines = done.stdout.splitlines()
    assert lines[0] == "masks: 2 masks"
    assert lines[1] == f"masks by {plan.text()}"


def test_without_these_options_no_plan_is_told(cli_here, bundle, photo):
    done = cli_here("predict", bundle, photo, "--out", "mask.png")
    assert done.returncode == 0, done.stderr
    assert "masks by" not in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--tta-scales", "1,1"], "--tta-scales: given '1,1'; allowed: different numbers"),
        (["--tta-scales", "9"], "--tta-scales: given '9'; allowed: different numbers from 0.25"),
        (["--window", "0x0"], "--window: given '0x0'; allowed: height x width, 8 to 65536"),
        (["--window", "64x"], "--window: given '64x'; allowed: height x width"),
        (["--overlap", "nan"], "--overlap"),
        (["--overlap", "0.95"], "--overlap"),
    ],
)
def test_refusals_are_those_of_evaluate(cli_here, bundle, photo, words, told):
    for given in (
        ["predict", bundle, photo, "--out", "mask.png"],
        ["evaluate", bundle, "--data=."],
    ):
        done = cli_here(*given, *words)
        assert done.returncode == 2
        assert told in done.stderr
    assert not (photo.parent / "mask.png").exists()


def test_views_without_onnx_are_told_and_the_bundle_alone_needs_none(bundle, photo, tmp_path):
    program = """
import sys
sys.modules["onnx"] = None
from automl.cli.main import main
main()
"""

    def run(*words):
        return subprocess.run(
            [sys.executable, "-c", program, "predict", bundle, photo, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    refused = run("--out", "mask.png", "--tta-flip")
    assert refused.returncode == 2
    assert refused.stderr == (
        "error: windows and views (--window, --tta-scales, --tta-flip) need the package onnx: "
        "pip install onnx\n"
    )
    assert not (tmp_path / "mask.png").exists()
    assert run("--out", "mask.png").returncode == 0
