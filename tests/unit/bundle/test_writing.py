import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from automl.bundle.loading import Bundle
from automl.bundle.verify import verify_bundle
from automl.errors import BundleError


def content(folder):
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_bundle_has_every_file_and_nothing_else_is_left(bundle, tmp_path):
    assert sorted(content(bundle)) == [
        "MODEL_CARD.md",
        "bundle.json",
        "checksums.json",
        "golden/00.input.png",
        "golden/00.mask.png",
        "golden/01.input.png",
        "golden/01.mask.png",
        "golden/02.input.png",
        "golden/02.mask.png",
        "model.onnx",
    ]
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]
    listed = json.loads((bundle / "checksums.json").read_text())["sha256"]
    assert sorted(listed) == sorted(set(content(bundle)) - {"checksums.json"})


def test_golden_files_are_the_images_and_what_the_model_makes_of_them(bundle, golden_images):
    opened = Bundle.load(bundle)
    for index, image_hwc in enumerate(golden_images):
        saved = Image.open(bundle / f"golden/{index:02d}.input.png")
        np.testing.assert_array_equal(np.asarray(saved), image_hwc)
        mask = Image.open(bundle / f"golden/{index:02d}.mask.png")
        np.testing.assert_array_equal(np.asarray(mask), opened.predict(image_hwc))


def test_same_content_gives_the_same_bytes(bundle, write, tmp_path):
    assert content(write(tmp_path / "again")) == content(bundle)


def test_bundle_replaces_the_one_that_was_there(bundle, write, make_manifest):
    (bundle / "old.txt").write_text("left over")
    write(bundle, manifest=make_manifest(name="newer"))
    assert Bundle.load(bundle).manifest.name == "newer"
    assert verify_bundle(bundle).num_files == 10


def test_without_golden_images_no_bundle_is_written(write, tmp_path):
    with pytest.raises(BundleError, match="at least 1 golden image"):
        write(tmp_path / "none", golden=[])
    assert not list(tmp_path.iterdir())


def test_label_that_is_no_class_leaves_the_old_bundle_in_place(bundle, write, make_manifest):
    before = content(bundle)
    short = make_manifest(classes=("one",), colours=((1, 2, 3),))
    with pytest.raises(BundleError, match=r"gives label [1-4], but the manifest has 1 classes"):
        write(bundle, manifest=short)
    assert content(bundle) == before
    assert list(bundle.parent.iterdir()) == [bundle]


def test_the_manifest_tells_the_digests_of_network_and_file(write, artifact, core, tmp_path):
    digests = Bundle.load(write(tmp_path / "with", core=core)).manifest.digests
    assert digests.core == hashlib.sha256(core.read_bytes()).hexdigest()
    assert digests.model == hashlib.sha256(artifact.read_bytes()).hexdigest()
    assert Bundle.load(write(tmp_path / "without")).manifest.digests.core is None
