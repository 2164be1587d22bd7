import json
import shutil

import numpy as np
import onnx
import pytest
from PIL import Image

from automl.bundle.checksums import file_faults, write_checksums
from automl.bundle.files import FolderFiles, sha256
from automl.bundle.loading import Bundle
from automl.bundle.verify import verify_bundle
from automl.errors import BundleError

FILES = [
    "MODEL_CARD.md",
    "bundle.json",
    "checksums.json",
    "golden/01.input.png",
    "golden/01.mask.png",
    "model.onnx",
]


def flip(path, position, bit=0x01):
    content = bytearray(path.read_bytes())
    content[position] ^= bit
    path.write_bytes(content)


def seal(folder):
    """Make manifest and checksums anew, as who changes a bundle on purpose could."""
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["digests"]["model"] = sha256((folder / "model.onnx").read_bytes())
    (folder / "bundle.json").write_text(json.dumps(manifest))
    write_checksums(folder)


def faults_of(folder):
    """The faults that verifying tells, by file; loading must refuse the bundle as well."""
    with pytest.raises(BundleError) as caught:
        verify_bundle(folder)
    head, *lines = str(caught.value).splitlines()
    assert head.startswith(f"{folder}: damaged bundle, {len(lines)} fault")
    return dict(line.strip().split(": ", 1) for line in lines)


def test_whole_bundle_is_verified(bundle):
    report = verify_bundle(bundle)
    assert report.agreements == (1.0, 1.0, 1.0)
    assert report.num_files == 10
    assert report.manifest == Bundle.load(bundle).manifest
    assert "verified" in report.lines()[0]
    assert "100.0000%" in report.lines()[2]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_flipped_bit_in_any_file_is_found(bundle, name, place):
    size = (bundle / name).stat().st_size
    flip(bundle / name, {"first": 0, "middle": size // 2, "last": size - 1}[place])
    faults = faults_of(bundle)
    assert name in faults or name == "checksums.json"
    with pytest.raises(BundleError, match="damaged bundle"):
        Bundle.load(bundle)


def test_flipped_bit_anywhere_in_the_checksums_is_found(bundle):
    path = bundle / "checksums.json"
    sound = path.read_bytes()
    random = np.random.default_rng(0)
    for position in random.choice(len(sound), 80, replace=False):
        flip(path, position, bit=1 << int(random.integers(8)))
        assert file_faults(FolderFiles(bundle))
        path.write_bytes(sound)
    assert not file_faults(FolderFiles(bundle))


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_named(bundle, name):
    (bundle / name).unlink()
    assert faults_of(bundle)[name] == "missing"


@pytest.mark.parametrize("name", ["model.onnx", "bundle.json", "MODEL_CARD.md"])
def test_needed_file_that_the_checksums_forgot_is_named(bundle, name):
    (bundle / name).unlink()
    write_checksums(bundle)
    assert faults_of(bundle)[name] == "missing"


def test_unexpected_file_is_named(bundle):
    (bundle / "golden" / "notes.txt").write_text("hello")
    assert faults_of(bundle) == {"golden/notes.txt": "unexpected: checksums.json does not list it"}


@pytest.mark.parametrize(
    "name",
    ["../secret.txt", "/etc/hostname", "golden/../../secret.txt", "./model.onnx", "a\\b", ""],
)
def test_path_out_of_the_bundle_is_refused_unread(bundle, tmp_path, name):
    (tmp_path / "secret.txt").write_text("secret")
    checksums = json.loads((bundle / "checksums.json").read_text())
    checksums["sha256"][name] = "0" * 64
    checksums["sha256"] = dict(sorted(checksums["sha256"].items()))
    (bundle / "checksums.json").write_text(json.dumps(checksums, indent=2) + "\n")
    fault = "checksums.json names a path outside of the bundle; not opened"
    assert list(file_faults(FolderFiles(bundle)).items()) == [(name, fault)]
    with pytest.raises(BundleError, match="outside of the bundle"):
        verify_bundle(bundle)


def test_symbolic_links_are_refused(bundle, tmp_path):
    shutil.move(bundle / "model.onnx", tmp_path / "model.onnx")
    (bundle / "model.onnx").symlink_to(tmp_path / "model.onnx")
    shutil.move(bundle / "golden", tmp_path / "golden")
    (bundle / "golden").symlink_to(tmp_path / "golden")
    faults = faults_of(bundle)
    assert faults["model.onnx"] == "a symbolic link; a bundle holds plain files"
    assert faults["golden/00.mask.png"] == "a symbolic link; a bundle holds plain files"


def test_unknown_schema_version_is_named(bundle):
    manifest = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps(manifest | {"schema_version": 7}))
    write_checksums(bundle)
    assert faults_of(bundle) == {
        "bundle.json": "schema_version 7 is newer than this program, which reads 1 to 3: "
        "use the version of automl that wrote the bundle, or a later one"
    }


def test_every_fault_is_listed_at_once(bundle):
    (bundle / "MODEL_CARD.md").unlink()
    (bundle / "extra").write_text("")
    flip(bundle / "model.onnx", 100)
    flip(bundle / "golden/02.mask.png", 40)
    (bundle / "bundle.json").write_text("{")
    faults = faults_of(bundle)
    assert sorted(faults) == [
        "MODEL_CARD.md",
        "bundle.json",
        "extra",
        "golden/02.mask.png",
        "model.onnx",
    ]
    assert "not JSON" in faults["bundle.json"]


def change_mask(path, num_pixels):
    picture = Image.open(path)
    mask_hw = np.array(picture)
    mask_hw.ravel()[:num_pixels] = (mask_hw.ravel()[:num_pixels] + 1) % 5
    changed = Image.fromarray(mask_hw)
    changed.putpalette(picture.getpalette())
    changed.save(path)


def test_golden_mask_that_the_model_no_longer_makes_is_found(bundle):
    change_mask(bundle / "golden/00.mask.png", 8)  # of 1536 pixels
    change_mask(bundle / "golden/02.mask.png", 8)  # of 13000 pixels: fewer than 1 in 1000
    write_checksums(bundle)
    faults = faults_of(bundle)
    assert list(faults) == ["golden/00.mask.png"]
    assert "the model gives 99.479% of its pixels" in faults["golden/00.mask.png"]


def test_golden_mask_of_another_size_is_found(bundle):
    Image.new("P", (5, 5)).save(bundle / "golden/00.mask.png")
    write_checksums(bundle)
    assert "shape (5, 5)" in faults_of(bundle)["golden/00.mask.png"]


def test_model_with_other_weights_under_right_checksums_fails_the_replay(bundle):
    model = onnx.load(bundle / "model.onnx")
    bias = next(t for t in model.graph.initializer if t.dims == [5])
    values = onnx.numpy_helper.to_array(bias).copy()
    values[4] += 1.0
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    onnx.save(model, bundle / "model.onnx")
    seal(bundle)
    assert set(faults_of(bundle)) == {f"golden/0{i}.mask.png" for i in range(3)}


def test_model_that_cannot_be_opened_is_told_once(bundle):
    (bundle / "model.onnx").write_bytes(b"junk")
    write_checksums(bundle)
    assert "not the model that bundle.json describes" in faults_of(bundle)["model.onnx"]
    seal(bundle)
    faults = faults_of(bundle)
    assert list(faults) == ["model.onnx"]
    assert "cannot open it" in faults["model.onnx"]


def test_bundle_without_golden_samples_is_not_verified(bundle):
    shutil.rmtree(bundle / "golden")
    write_checksums(bundle)
    assert faults_of(bundle) == {"golden": "no golden sample"}


def test_golden_sample_without_its_partner_is_named(bundle):
    (bundle / "golden/01.mask.png").unlink()
    write_checksums(bundle)
    assert list(faults_of(bundle)) == ["golden/01.input.png"]


def test_folder_that_is_no_bundle_is_told_apart_from_a_damaged_one(tmp_path):
    with pytest.raises(BundleError, match="no bundle: no such folder"):
        verify_bundle(tmp_path / "none")
    with pytest.raises(BundleError, match="no bundle: a bundle is a folder with"):
        verify_bundle(tmp_path)
