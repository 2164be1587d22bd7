import shutil
import subprocess
import sys
import zlib
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from automl.bundle.inputs import Input, find_inputs
from automl.bundle.loading import Bundle
from automl.bundle.packing import pack_bundle
from automl.bundle.predict import predict_file
from automl.bundle.predict_many import Destination, predict_all
from automl.cli.main import app
from automl.data.video import read_frames
from automl.errors import DataError, UsageError

RANDOM = np.random.default_rng(6)


def noise(height, width):
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for name, size in [("a.png", (61, 83)), ("c.jpg", (32, 48)), ("below/d.png", (5, 200))]:
        Image.fromarray(noise(*size)).save(folder / name)
    (folder / "b.jpg").write_bytes((folder / "c.jpg").read_bytes()[:300])
    return folder


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 40))
    for _ in range(5):
        writer.write(cv2.resize(noise(5, 8), (64, 40)))
    writer.release()
    return path


def invoke(*words):
    return CliRunner().invoke(app, ["predict", *map(str, words)])


def test_every_image_gets_the_mask_that_it_gets_alone(bundle, photos, tmp_path):
    (photos / "b.jpg").unlink()
    done = invoke(bundle, photos, "--recursive", "--out", tmp_path / "masks")
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"{tmp_path / 'masks'}: 3 masks\n")
    assert "images/s, the model alone" in done.output
    for name in ("a.png", "c.jpg", "below/d.png"):
        predict_file(bundle, photos / name, tmp_path / "alone.png")
        made = (tmp_path / "masks" / name).with_suffix(".png")
        assert made.read_bytes() == (tmp_path / "alone.png").read_bytes()


def test_a_broken_image_is_told_the_others_go_on_and_the_exit_code_is_1(bundle, photos, tmp_path):
    done = invoke(bundle, photos, photos / "none.jpg", "--out", tmp_path / "masks")
    assert done.exit_code == 1
    assert f"{photos / 'b.jpg'}: cannot be read as an image: " in done.stderr
    assert f"{photos / 'none.jpg'}: no such file" in done.stderr
    assert "2 masks, 2 inputs failed" in done.stdout
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["a.png", "c.png"]


def test_nothing_but_broken_images_is_told_without_a_rate(bundle, photos, tmp_path):
    done = invoke(bundle, photos / "b.jpg", "--out", tmp_path / "masks")
    assert done.exit_code == 1
    assert done.stdout == f"{tmp_path / 'masks'}: 0 masks, 1 input failed\n"


def test_overlays_have_a_folder_of_their_own(bundle, photos, tmp_path):
    given = [bundle, photos / "*.png", "--out", tmp_path / "m", "--overlay", tmp_path / "o"]
    assert invoke(*given).exit_code == 0
    with Image.open(tmp_path / "o" / "a.png") as over, Image.open(tmp_path / "m" / "a.png") as mask:
        assert (over.mode, mask.mode) == ("RGB", "P")


def test_the_summary_adds_up(bundle, photos):
    ticks = count()
    opened = Bundle.load(bundle)
    inputs = find_inputs([str(photos)], recursive=False)
    destination = Destination(masks=photos.parent / "masks")
    told = []
    summary = predict_all(
        opened,
        inputs,
        destination,
        predict=opened.predict,
        tell=told.append,
        clock=lambda: float(next(ticks)),
    )
    expected = np.zeros(5, np.int64)
    for name in ("a", "c"):
        mask = np.asarray(Image.open(photos.parent / "masks" / f"{name}.png"))
        expected += [int((mask == label).sum()) for label in range(5)]
    np.testing.assert_array_equal(summary.pixels, expected)
    assert (summary.num_masks, summary.model_seconds, summary.seconds) == (2, 2.0, 5.0)
    assert [path.name for path, _ in summary.failures] == ["b.jpg"]
    assert len(told) == 1


def test_frames_of_a_video_are_images(bundle, film, tmp_path):
    done = invoke(bundle, film, "--out", tmp_path / "masks", "--every", 2)
    assert done.exit_code == 0, done.output
    made = sorted((tmp_path / "masks" / "film").iterdir())
    assert [path.name for path in made] == ["000000.png", "000002.png", "000004.png"]
    frames = dict(read_frames(film))
    assert sorted(frames) == [0, 1, 2, 3, 4]
    expected = Bundle.load(bundle).predict(frames[2])
    np.testing.assert_array_equal(np.asarray(Image.open(made[1])), expected)


def test_a_frame_has_its_colours_in_the_order_of_images(tmp_path):
    path = tmp_path / "red.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 64))
    writer.write(np.full((64, 64, 3), (0, 0, 250), np.uint8))
    writer.release()
    ((_, frame_hwc),) = read_frames(path)
    red, green, blue = frame_hwc.reshape(-1, 3).mean(axis=0)
    assert red > 240
    assert max(green, blue) < 15


def test_what_is_no_video_is_told(bundle, tmp_path, photos):
    (tmp_path / "film.mp4").write_bytes(b"no film" * 100)
    done = invoke(bundle, tmp_path / "film.mp4", photos / "a.png", "--out", tmp_path / "masks")
    assert done.exit_code == 1
    assert "film.mp4: cannot be read as a video: OpenCV finds no frame in it" in done.stderr
    assert "1 mask, 1 input failed" in done.stdout
    with pytest.raises(DataError, match="no such file"):
        list(read_frames(tmp_path / "none.mp4"))


def test_without_opencv_a_video_is_told_with_what_to_install(film, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UsageError, match="videos need OpenCV: pip install opencv"):
        next(read_frames(film))


def test_wrong_places_are_told_before_any_work(bundle, photos, tmp_path):
    for words, told in [
        ([photos, "--out", tmp_path / "mask.png"], "several images need a folder"),
        ([photos, "--out", photos / "c.jpg"], "several images need a folder"),
        ([photos, "--out", tmp_path / "m", "--overlay", tmp_path / "m"], "must be different"),
        ([photos, "--out", photos], "would replace an input"),
        ([photos / "*.gif", "--out", tmp_path / "m"], "no file has a name of this pattern"),
    ]:
        done = invoke(bundle, *words)
        assert isinstance(done.exception, UsageError)
        assert told in str(done.exception)
    assert not (tmp_path / "m").exists()


def test_one_image_into_a_folder_that_is_there(bundle, photos, tmp_path):
    (tmp_path / "masks.v1").mkdir()
    assert invoke(bundle, photos / "a.png", "--out", tmp_path / "masks.v1").exit_code == 0
    assert (tmp_path / "masks.v1" / "a.png").is_file()


@pytest.mark.parametrize("size", [(1, 1), (3, 1001), (1001, 3), (32, 48), (1, 5000)])
@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16", "RGB"])
def test_images_of_odd_sizes_and_modes_get_masks_of_their_size(bundle, tmp_path, size, mode):
    pixels = noise(*size)
    picture = Image.fromarray(pixels)
    if mode == "I;16":
        picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif mode != "RGB":
        picture = picture.convert(mode)
    picture.save(tmp_path / "odd.png")
    done = predict_file(bundle, tmp_path / "odd.png", tmp_path / "mask.png")
    assert (done.height, done.width) == size
    with Image.open(tmp_path / "mask.png") as mask:
        assert mask.size == size[::-1]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "webp", "gif"])
def test_truncated_images_are_told(bundle, tmp_path, share, suffix):
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise(90, 70)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    opened = Bundle.load(bundle)
    summary = predict_all(
        opened,
        [Input(path, Path("cut"))],
        Destination(masks=tmp_path / "masks"),
        predict=opened.predict,
        tell=lambda _: None,
    )
    assert len(summary.failures) == 1
    assert str(path) in summary.failures[0][1]


def test_an_image_that_only_claims_its_pixels_is_told(bundle, tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("RGB", (8, 8)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = (60_000).to_bytes(4) + (60_000).to_bytes(4)
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bomb\.png: cannot be read as an image: .*exceeds limit"):
        predict_file(bundle, path, tmp_path / "mask.png")


def test_commands_need_no_more_than_they_say(bundle, photos, tmp_path):
    """In a Python with onnxruntime, numpy, Pillow, pydantic and typer alone."""
    pack_bundle(bundle, tmp_path / "b.automl.zip")
    shutil.rmtree(bundle)
    program = f"""
import sys

ALLOWED = {{"automl", "numpy", "onnxruntime", "PIL", "pydantic", "pydantic_core", "annotated_types",
           "typing_extensions", "typing_inspection", "flatbuffers", "google", "packaging",
           "typer", "click", "rich", "shellingham", "markdown_it", "mdurl", "pygments",
           "annotated_doc", "colorama"}}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root in ALLOWED or root in sys.stdlib_module_names or root.startswith("_sysconfigdata"):
            return None
        raise ModuleNotFoundError(f"blocked: {{name}}", name=name)

sys.meta_path.insert(0, Blocker())
from automl.cli.main import app

for words in (
    ["bundle", "verify", {str(tmp_path / "b.automl.zip")!r}],
    ["bundle", "unpack", {str(tmp_path / "b.automl.zip")!r}, "--out", {str(tmp_path / "u")!r}],
    ["bundle", "schema"],
    ["predict", {str(tmp_path / "u")!r}, {str(photos)!r}, "--out", {str(tmp_path / "m")!r}],
):
    code = app(words, standalone_mode=False)
    assert code in (None, 0, 1), (words, code)
loaded = {{"torch", "ray", "onnx", "cv2", "cryptography", "pyarrow", "pandas"}} & sys.modules.keys()
assert not loaded, loaded
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "verified" in done.stdout
    assert "2 masks, 1 input failed" in done.stdout
