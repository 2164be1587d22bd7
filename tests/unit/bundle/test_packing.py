import os
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from automl.bundle.archive import render_archive
from automl.bundle.loading import Bundle, load_sound
from automl.bundle.packing import pack_bundle, sound_contents, unpack_bundle
from automl.bundle.verify import verify_bundle
from automl.errors import BundleError, UsageError


@pytest.fixture
def packed(bundle, tmp_path):
    pack_bundle(bundle, tmp_path / "bundle.automl.zip")
    return tmp_path / "bundle.automl.zip"


def test_packing_twice_gives_the_same_bytes(bundle, write, packed, tmp_path):
    os.utime(bundle / "model.onnx", (1, 1))
    again, elsewhere = tmp_path / "again.automl.zip", tmp_path / "elsewhere.automl.zip"
    assert pack_bundle(bundle, again) == 10
    pack_bundle(write(tmp_path / "other"), elsewhere)
    assert packed.read_bytes() == again.read_bytes() == elsewhere.read_bytes()


def test_unpacking_gives_the_folder_back(bundle, packed, tmp_path):
    assert unpack_bundle(packed, tmp_path / "new" / "folder") == 10
    assert sound_contents(tmp_path / "new" / "folder") == sound_contents(bundle)
    assert verify_bundle(tmp_path / "new" / "folder").num_files == 10


def test_a_packed_bundle_is_used_as_it_is(bundle, packed):
    before = sorted(packed.parent.iterdir())
    shutil.rmtree(bundle)
    report = verify_bundle(packed)
    assert (report.num_files, report.agreements) == (10, (1.0, 1.0, 1.0))
    opened = Bundle.load(packed)
    with zipfile.ZipFile(packed) as other:
        mask = np.asarray(Image.open(other.open("golden/01.mask.png")))
        image = np.asarray(Image.open(other.open("golden/01.input.png")))
    np.testing.assert_array_equal(opened.predict(image), mask)
    assert sorted(packed.parent.iterdir()) == [path for path in before if path != bundle]


def test_a_damaged_bundle_is_neither_packed_nor_unpacked(bundle, packed, tmp_path):
    contents = sound_contents(bundle)
    contents["golden/00.mask.png"] += b"x"
    packed.write_bytes(render_archive(contents))
    with pytest.raises(BundleError, match=r"golden/00\.mask\.png: changed"):
        unpack_bundle(packed, tmp_path / "new")
    (bundle / "extra").write_text("")
    with pytest.raises(BundleError, match="extra: unexpected"):
        pack_bundle(bundle, tmp_path / "new.automl.zip")
    assert not list(tmp_path.glob("*new*"))


@pytest.mark.parametrize(
    "name",
    [
        "../escaped",
        "/tmp/escaped",
        "a/../../escaped",
        "C:escaped",
        "a\\escaped",
        "./a",
        "a//b",
        "\n",
    ],
)
def test_a_name_that_leads_out_is_refused_and_nothing_written(bundle, packed, tmp_path, name):
    packed.write_bytes(render_archive({**sound_contents(bundle), name: b"x"}))
    with pytest.raises(BundleError, match="path outside of the bundle"):
        unpack_bundle(packed, tmp_path / "new")
    with pytest.raises(BundleError, match="path outside of the bundle"):
        load_sound(packed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "bundle.automl.zip"]


def test_wrong_names_are_told(bundle, packed, tmp_path):
    with pytest.raises(UsageError, match=r"ends in \.automl\.zip, got .*x\.zip"):
        pack_bundle(bundle, tmp_path / "x.zip")
    with pytest.raises(UsageError, match="a place outside of the bundle"):
        pack_bundle(bundle, bundle / "x.automl.zip")
    with pytest.raises(UsageError, match="exists already"):
        unpack_bundle(packed, bundle)
    with pytest.raises(UsageError, match="is not packed"):
        unpack_bundle(bundle, tmp_path / "new")
    with pytest.raises(BundleError, match="no such folder, and no such packed file"):
        unpack_bundle(tmp_path / "none", tmp_path / "new")


def test_a_file_too_large_is_not_read(packed, monkeypatch):
    monkeypatch.setattr("automl.bundle.files.MAX_BYTES", 1000)
    with pytest.raises(BundleError, match="no packed bundle: at most 0 MiB are read"):
        load_sound(packed)
