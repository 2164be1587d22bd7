"""Images of unlike ratios, letterboxed from the import to the bundle and all that reads it."""

import json

import numpy as np
import pytest
from PIL import Image

from automl.bundle.inference import InferencePlan
from automl.bundle.verify import verify_bundle
from automl.evaluation.evaluate import EvaluationRequest, evaluate
from automl.stages.format_source import find_format_source
from automl.stages.quantize_subject import find_subject
from automl.stages.reproduce import ReproductionRequest, plan_reproduction
from automl.stages.source import data_for, read_source
from automl.store.layout import StudyFolder

pytestmark = pytest.mark.slow

SPACE = """
data: {source: data, size: [32, 64], resize: letterbox}
space:
  encoder: mobilenetv3_small_050
  decoder: fpn_lite
  decoder_width: {choice: [16, 24], default: 16}
  learning_rate: 2.0e-3
  augmentation: medium
  copy_paste: 0.5
  class_weights: effective
  batch_size: 4
train: {epochs: 2}
compress: {int8: false}
target: {rounds: 3}
export: {golden_samples: 2}
"""

#: Height and width of the images of each split; the last one of all has the network's own ratio.
SIZES = {
    "train": [(50, 40), (20, 90), (64, 64), (32, 64), (1, 70), (90, 30), (33, 65), (40, 80)],
    "val": [(60, 30), (24, 90), (48, 96)],
    "test": [(70, 40), (30, 100), (64, 128)],
}


@pytest.fixture
def space(tmp_path):
    rng = np.random.default_rng(0)
    for split, shapes in SIZES.items():
        for number, (height, width) in enumerate(shapes):
            mask = np.zeros((height, width), np.uint8)
            mask[:, width // 3 : 2 * width // 3] = 1
            noise = rng.integers(0, 60, (height, width, 3))
            image = np.where(mask[..., None] == 1, 180, 20) + noise
            for kind, values in (("images", image.astype(np.uint8)), ("masks", mask)):
                place = tmp_path / "data" / split / kind / f"{number}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(place)
    (tmp_path / "data" / "dataset.yaml").write_text("name: bars\nclasses: [ground, bar]\n")
    file = tmp_path / "space.yaml"
    file.write_text(SPACE)
    return file


def test_a_letterboxed_training_ends_in_a_bundle_that_all_commands_use(
    cli, space, tmp_path, cache, monkeypatch
):
    monkeypatch.setenv("AUTOML_CACHE", str(cache))
    done = cli("train", "--space", space, "--out", "out", blocked=["ray"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "32 x 64 (height x width), letterboxed" in done.stdout
    bundle = tmp_path / "out" / "bundles" / "fp32"
    manifest = json.loads((bundle / "bundle.json").read_text())
    resize = manifest["input"]["resize"]
    assert resize["mode"] == "letterbox"
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["resize"] == resize
    assert "letterbox" in (bundle / "MODEL_CARD.md").read_text()

    photo = tmp_path / "photo.png"
    Image.fromarray(np.full((7, 301, 3), 200, np.uint8)).save(photo)
    told = cli("predict", bundle, photo, "--out", "mask.png")
    assert told.returncode == 0, told.stderr
    with Image.open(tmp_path / "mask.png") as mask:
        assert mask.size == (301, 7)

    scored = cli("evaluate", bundle, "--data", "data", "--split", "test", "--out", "scores")
    assert scored.returncode == 0, scored.stderr
    assert "as recorded" in scored.stdout
    low, high = manifest["intervals"]["test"]["bounds"]["iou.bar"]
    assert low <= manifest["metrics"]["test"]["iou.bar"] <= high
    assert manifest["intervals"]["val"]["images"] == len(SIZES["val"])
    told = cli("bundle", "inspect", bundle)
    assert f"[{low:.4f}, {high:.4f}]" in told.stdout, told.stdout + told.stderr
    assert_all_who_go_on_from_it_letterbox_as_it_does(tmp_path, monkeypatch)


def assert_all_who_go_on_from_it_letterbox_as_it_does(folder, monkeypatch):
    monkeypatch.chdir(folder)
    study, bundle = folder / "out", folder / "out" / "bundles" / "fp32"
    made = verify_bundle(bundle).manifest
    info = StudyFolder(study).dataset()
    assert made.input.resize == info.resize
    assert find_subject(bundle).resize == info.resize
    source = read_source(study / "0")
    assert source.resize == info.resize
    # The data is imported anew with the colour that the network knows.
    assert data_for(source, "data").info.fingerprint == info.fingerprint
    found = find_format_source(bundle, "data", folder)
    assert found.resize == info.resize
    (first, *_), split = found.images_nhwc, data_for(source, None).split("val")
    np.testing.assert_array_equal(first, split.image(0))
    plan = plan_reproduction(ReproductionRequest(root=study, trial="0"))
    assert plan.dataset.info.fingerprint == info.fingerprint
    views = InferencePlan(window=(20, 40), flip=True)
    request = EvaluationRequest(bundle=bundle, data="data", plan=views)
    assert evaluate(request, lambda _done, _total: None).record.reproduced
