from __future__ import annotations

import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from pydantic import ValidationError

from automl.data import importing
from automl.data.check import check_folder
from automl.data.dataset import Dataset, open_dataset
from automl.data.importing import cached_dataset, check_size, import_dataset
from automl.errors import DataError, UsageError
from automl.space.experiment import DataSettings
from automl.storage.location import cache_root
from automl.store.atomic import STAGED_SUFFIX

SIZE = (32, 64)


def fingerprint(source: Path, tmp_path: Path, size: tuple[int, int] = SIZE) -> str:
    place = tmp_path / f"imported-{time.monotonic_ns()}"
    return import_dataset(str(source), size=size, destination=place).info.fingerprint


def real_data(name: str) -> Path:
    shared = Path(__file__).parents[4] / "shared" / "data"
    root = Path(os.environ.get("AUTOML_TEST_DATA", str(shared))) / name
    if not root.is_dir():
        pytest.skip(f"{root} is absent: set AUTOML_TEST_DATA to a folder that holds {name}")
    return root


def test_imported_samples_are_the_files(split_folder: Path, tmp_path: Path) -> None:
    dataset = import_dataset(str(split_folder), size=SIZE, destination=tmp_path / "out")
    split = dataset.split("train")
    for row in range(len(split)):
        name = split.name(row)
        image = np.asarray(Image.open(split_folder / f"train/images/{name}.png"))
        mask = np.asarray(Image.open(split_folder / f"train/masks/{name}.png"))
        assert np.array_equal(split.image(row), image)
        assert np.array_equal(split.mask(row), mask)
    assert dataset.info.classes == ("ground", "crack", "dent")
    assert dataset.info.counts == {"train": 5, "val": 3, "test": 2}


def test_images_are_resized_and_masks_keep_their_labels(split_folder: Path, tmp_path: Path) -> None:
    dataset = import_dataset(str(split_folder), size=(64, 96), destination=tmp_path / "out")
    assert dataset.split("val").image(0).shape == (64, 96, 3)
    assert set(np.unique(dataset.split("val").mask(0))) <= {0, 1, 2}


def test_values_named_in_the_declaration_become_class_indices(
    split_folder: Path, tmp_path: Path
) -> None:
    declared = {"classes": {0: "ground", 255: "crack"}, "ignore_index": 7}
    (split_folder / "dataset.yaml").write_text(yaml.safe_dump(declared))
    masks = {}
    for path in split_folder.rglob("masks/*.png"):
        labels = np.array([0, 255, 7], dtype=np.uint8)[np.asarray(Image.open(path))]
        Image.fromarray(labels).save(path)
        masks[path.stem] = labels
    dataset = import_dataset(str(split_folder), size=SIZE, destination=tmp_path / "out")
    split = dataset.split("train")
    wanted = {0: 0, 255: 1, 7: 255}
    for row in range(len(split)):
        expected = np.vectorize(wanted.get)(masks[split.name(row)])
        assert np.array_equal(split.mask(row), expected)
    assert dataset.info.ignore_index == 7
    assert sum(dataset.info.class_pixel_share) == pytest.approx(1.0)


def test_faults_of_all_files_stop_the_import_and_leave_nothing(
    split_folder: Path, tmp_path: Path
) -> None:
    (split_folder / "train/masks/train1.png").unlink()
    (split_folder / "val/images/val0.png").write_text("broken")
    Image.new("L", (3, 3)).save(split_folder / "test/masks/test0.png")
    place = tmp_path / "cache" / "out"
    with pytest.raises(DataError, match="3 faults in the dataset") as caught:
        import_dataset(str(split_folder), size=SIZE, destination=place)
    for name in ("train1.png", "val0.png", "test0.png"):
        assert name in str(caught.value)
    assert list(place.parent.iterdir()) == []


def test_fingerprint_is_of_the_content_alone(split_folder: Path, tmp_path: Path) -> None:
    first = fingerprint(split_folder, tmp_path)
    moved = tmp_path / "moved"
    shutil.copytree(split_folder, moved)
    for number, path in enumerate(sorted(moved.rglob("*.png"), reverse=True)):
        os.utime(path, (number, number))
    for split in ("train", "val", "test"):  # other names, in the opposite order
        count = len(list((moved / split / "images").iterdir()))
        for kind in ("images", "masks"):
            for number in range(count):
                path = moved / split / kind / f"{split}{number}.png"
                path.rename(path.with_name(f"renamed{9 - number}.png"))
    assert fingerprint(moved, tmp_path) == first
    assert fingerprint(split_folder, tmp_path, (32, 96)) != first
    declared = moved / "dataset.yaml"
    declared.write_text(declared.read_text().replace("dent", "bump"))
    other_classes = fingerprint(moved, tmp_path)
    mask = moved / "val/masks/renamed9.png"
    labels = np.array(Image.open(mask))
    labels[5, 5] = (labels[5, 5] + 1) % 3
    Image.fromarray(labels).save(mask)
    assert len({first, other_classes, fingerprint(moved, tmp_path)}) == 3


def test_cache_decodes_once(
    split_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cached_dataset(str(split_folder), size=SIZE, cache=tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("imported again")

    monkeypatch.setattr(importing, "_write_folder_dataset", refuse)
    again = cached_dataset(str(split_folder), size=SIZE, cache=tmp_path)
    assert again.root == first.root
    with pytest.raises(AssertionError, match="imported again"):
        cached_dataset(str(split_folder), size=(32, 32), cache=tmp_path)
    os.utime(split_folder / "val/masks/val0.png", (1, 1))
    with pytest.raises(AssertionError, match="imported again"):
        cached_dataset(str(split_folder), size=SIZE, cache=tmp_path)


def test_cache_lies_where_the_environment_says(
    split_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOML_CACHE", str(tmp_path / "here"))
    dataset = cached_dataset(str(split_folder), size=SIZE)
    assert tmp_path / "here" in dataset.root.parents


def test_datasets_are_absolute_whatever_was_given(
    split_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("AUTOML_CACHE", "cache")
    source = os.path.relpath(split_folder, here)
    datasets = [
        import_dataset(source, size=SIZE, destination=Path("out")),
        open_dataset(Path("out")),
        cached_dataset("out", size=SIZE),
        cached_dataset(source, size=SIZE),
        cached_dataset(source, size=SIZE),
        cached_dataset(source, size=SIZE, cache=Path("other")),
    ]
    assert cache_root() == here / "cache"
    assert datasets[3].root == datasets[4].root
    monkeypatch.chdir(there)
    for dataset in datasets:
        assert here in dataset.root.parents
        assert pickle.loads(pickle.dumps(dataset)).info == dataset.info
        assert open_dataset(dataset.root).split("val").name(0) == "val0"


def test_warnings_are_told_at_the_import_and_by_the_cache_but_not_fingerprinted(
    split_folder: Path, tmp_path: Path
) -> None:
    clean = cached_dataset(str(split_folder), size=SIZE, cache=tmp_path)
    assert clean.warnings == ()
    copy = split_folder / "test/images/test0.png"
    copy.write_bytes((split_folder / "train/images/train4.png").read_bytes())
    for path in (split_folder / "val/masks").iterdir():
        Image.fromarray(np.minimum(np.array(Image.open(path)), 1)).save(path)
    first = cached_dataset(str(split_folder), size=SIZE, cache=tmp_path)
    assert first.warnings == check_folder(split_folder).warnings
    leak, thin = first.warnings
    assert str(copy) in leak
    assert thin == "class 'dent' is absent from val: it is not scored there"
    assert cached_dataset(str(split_folder), size=SIZE, cache=tmp_path).warnings == (leak, thin)
    assert pickle.loads(pickle.dumps(first)).warnings == (leak, thin)


def test_fingerprint_does_not_depend_on_warnings(split_folder: Path, tmp_path: Path) -> None:
    first = fingerprint(split_folder, tmp_path)
    (split_folder / "train/images/notes.txt").write_text("no image")
    place = tmp_path / "noted"
    noted = import_dataset(str(split_folder), size=SIZE, destination=place)
    assert [warning for warning in noted.warnings if "notes.txt" in warning]
    assert noted.info.fingerprint == first


@pytest.mark.parametrize(
    "size", [(0, 0), (-32, 32), (32, 0), (31, 32), (32, 100), (2080, 32), (32, 4096), (12, 16)]
)
def test_sizes_that_networks_do_not_take_are_refused_at_every_door(
    split_folder: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    with pytest.raises(ValidationError):
        DataSettings(size=size)
    source, place = str(split_folder), tmp_path / "out"
    for door in (
        lambda: import_dataset(source, size=size, destination=place),
        lambda: cached_dataset(source, size=size, cache=place),
        lambda: import_dataset("builtin:surface-defects", size=size, destination=place),
    ):
        with pytest.raises(UsageError, match="two multiples of 32 from 32 to 2048") as caught:
            door()
        assert f"given {size};" in str(caught.value)
    assert not place.exists()


@pytest.mark.parametrize("size", [(32, 32), (2048, 32), (1024, 2048), (192, 256)])
def test_sizes_that_networks_take_pass(size: tuple[int, int]) -> None:
    assert DataSettings(size=size).size == size
    check_size(size)


def test_damaged_cache_is_made_anew(split_folder: Path, tmp_path: Path) -> None:
    first = cached_dataset(str(split_folder), size=SIZE, cache=tmp_path)
    info = first.info
    path = first.root / "train.arrow"
    path.write_bytes(path.read_bytes()[:50])
    assert cached_dataset(str(split_folder), size=SIZE, cache=tmp_path).info == info


def test_cache_that_cannot_be_written_is_told(split_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="set AUTOML_CACHE"):
        cached_dataset(str(split_folder), size=SIZE, cache=tmp_path / "file")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The operating system refuses to let files grow, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_disk_that_is_full_is_told(split_folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "out"
    with (
        files_of_at_most(1000),
        pytest.raises(DataError, match=rf"{place}: cannot be written: .*File too large"),
    ):
        import_dataset(str(split_folder), size=SIZE, destination=place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_class_that_training_size_loses_names_what_held_it(
    split_folder: Path, tmp_path: Path
) -> None:
    for path in (split_folder / "train/masks").iterdir():
        labels = np.minimum(np.array(Image.open(path).resize((640, 640))), 1)
        labels[0, 0] = 2 if path.stem == "train4" else 0
        Image.fromarray(labels).save(path)
        image = split_folder / "train/images" / path.name
        Image.open(image).resize((640, 640)).save(image)
    with pytest.raises(DataError) as caught:
        import_dataset(str(split_folder), size=SIZE, destination=tmp_path / "out")
    held = f"(most of it had {split_folder / 'train/images/train4.png'}, 1 pixels)"
    assert f"no train pixel of class 'dent' {held} is left at 32x64" in str(caught.value)


def test_imported_dataset_is_a_source_of_its_own_size(split_folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "out"
    import_dataset(str(split_folder), size=SIZE, destination=place)
    assert cached_dataset(str(place), size=SIZE, cache=tmp_path).root == place
    with pytest.raises(DataError, match=r"imported at \(32, 64\)"):
        cached_dataset(str(place), size=(32, 32), cache=tmp_path)


def test_destination_that_holds_something_else_is_kept(split_folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "home"
    place.mkdir()
    (place / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="holds something that is no dataset"):
        import_dataset(str(split_folder), size=SIZE, destination=place)
    assert (place / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("builtin:nothing", "built in are builtin:surface-defects"),
        ("no/where", "no such folder: give one that holds images/"),
    ],
)
def test_unknown_sources_are_told(tmp_path: Path, source: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        cached_dataset(source, size=SIZE, cache=tmp_path)


SLOW_IMPORT = """
import sys, time
from pathlib import Path
from automl.data import importing
from automl.data.importing import import_dataset

def slowly(done, total):
    print(done, flush=True)
    time.sleep(float(sys.argv[3]))

import_dataset(sys.argv[1], size=(32, 64), destination=Path(sys.argv[2]), progress=slowly)
"""


def start_import(source: Path, place: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOW_IMPORT, str(source), str(place), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_killed_import_leaves_no_dataset_and_the_next_one_works(
    split_folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "cache" / "out"
    with start_import(split_folder, place, 30) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        process.send_signal(signal.SIGKILL)
    assert not place.exists()
    (left,) = place.parent.iterdir()
    assert left.name.endswith(STAGED_SUFFIX)
    assert isinstance(import_dataset(str(split_folder), size=SIZE, destination=place), Dataset)


def test_what_a_killed_import_left_is_removed_a_day_later(
    split_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "datasets"
    old, young = (folder / f".{name}{STAGED_SUFFIX}" for name in ("old", "young"))
    for left in (old, young):
        left.mkdir(parents=True)
    os.utime(old, (1, 1))
    cached_dataset(str(split_folder), size=SIZE, cache=tmp_path)
    assert not old.exists()
    assert young.exists()


def test_imports_at_the_same_time_give_one_whole_dataset(
    split_folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "cache" / "out"
    with (
        start_import(split_folder, place, 0.05) as one,
        start_import(split_folder, place, 0.05) as two,
    ):
        one.communicate()
        two.communicate()
    assert (one.returncode, two.returncode) == (0, 0)
    assert [path.name for path in place.parent.iterdir()] == ["out"]
    dataset = open_dataset(place)
    assert dataset.info.fingerprint == fingerprint(split_folder, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "counts", "classes"),
    [("camvid", (367, 101, 233), 11), ("magnetic_tile", (487, 104, 101), 6)],
)
def test_real_data_imports(
    name: str, counts: tuple[int, int, int], classes: int, tmp_path: Path
) -> None:
    dataset = import_dataset(str(real_data(name)), size=(64, 64), destination=tmp_path / "out")
    assert tuple(dataset.info.counts[split] for split in ("train", "val", "test")) == counts
    assert len(dataset.info.classes) == classes
    assert min(dataset.info.class_pixel_share) > 0
    for split in ("train", "val", "test"):
        labels = np.unique(np.stack([dataset.split(split).mask(row) for row in range(50)]))
        assert set(labels) <= {*range(classes), 255}
