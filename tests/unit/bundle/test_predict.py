import os
import subprocess
import sys
from itertools import count

import numpy as np
import pytest
from PIL import Image

from automl.bundle.loading import Bundle
from automl.bundle.predict import predict_file
from automl.errors import BundleError, DataError, UsageError

ROTATED = 6
ORIENTATION = 0x0112


@pytest.fixture
def photo(tmp_path):
    image_hwc = np.random.default_rng(2).integers(0, 256, (61, 83, 3), dtype=np.uint8)
    Image.fromarray(image_hwc).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_mask_file_holds_the_class_of_each_pixel(bundle, photo, tmp_path):
    ticks = count()
    done = predict_file(bundle, photo, tmp_path / "out" / "mask.png", clock=lambda: next(ticks))
    picture = Image.open(tmp_path / "out" / "mask.png")
    assert picture.mode == "P"
    expected_hw = Bundle.load(bundle).predict(np.asarray(Image.open(photo)))
    np.testing.assert_array_equal(np.asarray(picture), expected_hw)
    assert (done.width, done.height, done.milliseconds) == (83, 61, 1000.0)
    names = Bundle.load(bundle).manifest.classes
    assert dict(done.shares) == {
        names[label]: float((expected_hw == label).mean()) for label in np.unique(expected_hw)
    }
    assert len(done.shares) > 1


def test_overlay_shows_the_image_under_the_classes(bundle, photo, tmp_path):
    predict_file(bundle, photo, tmp_path / "mask.png", overlay=tmp_path / "overlay.png")
    overlay = np.asarray(Image.open(tmp_path / "overlay.png"))
    image = np.asarray(Image.open(photo))
    mask = np.asarray(Image.open(tmp_path / "mask.png"))
    assert overlay.shape == image.shape
    np.testing.assert_array_equal(overlay[mask == 0], image[mask == 0])
    assert (overlay[mask > 0] != image[mask > 0]).any()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_file_and_picture_of_any_plain_mode_give_one_mask(bundle, photo, tmp_path, mode):
    picture = Image.open(photo).convert(mode)
    name = tmp_path / ("photo.tif" if mode == "CMYK" else f"photo-{mode}.png")
    picture.save(name)
    predict_file(bundle, name, tmp_path / "mask.png")
    mask_hw = np.asarray(Image.open(tmp_path / "mask.png"))
    np.testing.assert_array_equal(mask_hw, Bundle.load(bundle).predict(picture))


def test_exif_orientation_is_applied(bundle, photo, tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = ROTATED
    Image.open(photo).save(tmp_path / "turned.png", exif=exif)
    done = predict_file(bundle, tmp_path / "turned.png", tmp_path / "mask.png")
    assert (done.width, done.height) == (61, 83)


def test_sixteen_bit_file_is_scaled_and_sixteen_bit_picture_is_refused(bundle, tmp_path):
    grey_hw = np.random.default_rng(3).integers(0, 256, (40, 50), dtype=np.uint16)
    picture = Image.fromarray(grey_hw * 257)
    picture.save(tmp_path / "deep.png")
    predict_file(bundle, tmp_path / "deep.png", tmp_path / "mask.png")
    opened = Bundle.load(bundle)
    expected_hw = opened.predict(np.repeat(grey_hw.astype(np.uint8)[..., None], 3, axis=2))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "mask.png")), expected_hw)
    with pytest.raises(BundleError, match="8 bits a channel, got mode I;16"):
        opened.predict(picture)


def test_wrong_input_is_told_and_nothing_written(bundle, photo, tmp_path):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match=r"mask\.jpg: pictures are written as PNG"):
        predict_file(bundle, photo, tmp_path / "mask.jpg")
    with pytest.raises(UsageError, match=r"over\.bmp: pictures are written as PNG"):
        predict_file(bundle, photo, tmp_path / "mask.png", overlay=tmp_path / "over.bmp")
    with pytest.raises(DataError, match=r"bundle\.json"):
        predict_file(bundle, bundle / "bundle.json", tmp_path / "mask.png")
    with pytest.raises(BundleError, match="no such folder"):
        predict_file(tmp_path / "none", photo, tmp_path / "mask.png")
    assert sorted(tmp_path.iterdir()) == before


def test_what_cannot_be_written_is_told_by_its_own_name(bundle, photo, tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "mask.png"
    for folder in (tmp_path, tmp_path / "folder.png"):
        with pytest.raises(UsageError, match=rf"^{folder}: a folder: name the file to write"):
            predict_file(bundle, photo, folder)
    with pytest.raises(UsageError, match=rf"^{below}: cannot be written: "):
        predict_file(bundle, photo, below)
    with pytest.raises(UsageError, match=rf"^{below}: cannot be written: "):
        predict_file(bundle, photo, tmp_path / "mask.png", overlay=below)


def test_class_names_need_no_locale(write, make_manifest, photo, tmp_path):
    names = ("\u00dcbergang", "b", "c", "d", "e")
    manifest = make_manifest(classes=names)
    bundle = write(tmp_path / "named", manifest=manifest)
    words = ["predict", str(bundle), str(photo), "--out", str(tmp_path / "mask.png")]
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    program = "import sys; from automl.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        env={**os.environ, **plain},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert names[0] in done.stdout.decode()


def test_prediction_and_verification_need_no_training_library(bundle, photo, tmp_path):
    program = f"""
import sys

ALLOWED = {{"automl", "numpy", "onnxruntime", "PIL", "pydantic", "pydantic_core", "annotated_types",
           "typing_extensions", "typing_inspection", "flatbuffers", "google", "packaging"}}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root in ALLOWED or root in sys.stdlib_module_names or root.startswith("_sysconfigdata"):
            return None
        raise ModuleNotFoundError(f"blocked: {{name}}", name=name)

sys.meta_path.insert(0, Blocker())
try:
    import torch
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("torch was not blocked")

from pathlib import Path
from automl.bundle.predict import predict_file
from automl.bundle.verify import verify_bundle

verify_bundle(Path({str(bundle)!r}))
predict_file(Path({str(bundle)!r}), Path({str(photo)!r}), Path({str(tmp_path / "mask.png")!r}))
loaded = {{"torch", "timm", "pyarrow", "onnx", "ray"}} & sys.modules.keys()
raise SystemExit(f"loaded {{loaded}}" if loaded else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mask.png").is_file()
