from __future__ import annotations

from fractions import Fraction
from math import floor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from automl.data.check import check_folder
from automl.data.dataset import open_dataset
from automl.data.folds import deal_folds
from automl.data.import_cache import Wanted, cache_name
from automl.data.importing import cached_dataset, import_dataset
from automl.data.letterbox import Frame
from automl.errors import DataError
from automl.records import IGNORE
from automl.resize import STRETCH, Resize

LETTERBOX = Resize(mode="letterbox", padding=(10, 20, 30))
UNNAMED = Resize(mode="letterbox")
SIZE = (32, 64)
SIDES = st.integers(1, 5000)
NETWORK_SIDES = st.integers(1, 64).map(lambda number: 32 * number)


def box_by_definition(image: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Scale by the smaller of both ratios, round half up, keep a pixel; the rest on both sides."""
    scale = min(Fraction(size[0], image[0]), Fraction(size[1], image[1]))
    height, width = (max(1, floor(side * scale + Fraction(1, 2))) for side in image)
    return (size[0] - height) // 2, (size[1] - width) // 2, height, width


@given(image=st.tuples(SIDES, SIDES), size=st.tuples(NETWORK_SIDES, NETWORK_SIDES))
@example(image=(1, 1), size=(32, 64))
@example(image=(3, 1001), size=(32, 64))
@example(image=(1001, 3), size=(32, 64))
@example(image=(100_000, 1), size=(2048, 32))
@example(image=(64, 3), size=(32, 32))  # 1.5 pixels
def test_the_box_is_that_of_the_definition(image: tuple[int, int], size: tuple[int, int]) -> None:
    box = Frame(size, LETTERBOX).box(image)
    assert (box.top, box.left, box.height, box.width) == box_by_definition(image, size)
    assert box.height == size[0] or box.width == size[1]
    assert box.top + box.height <= size[0]
    assert box.left + box.width <= size[1]


def test_an_image_lies_in_the_middle_of_its_padding() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 20, 3), dtype=np.uint8)
    found = Frame(SIZE, LETTERBOX).image(image)
    small = Image.fromarray(image).resize((16, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(found[:, 24:40], np.asarray(small))
    assert (found[:, :24] == (10, 20, 30)).all()
    assert (found[:, 40:] == (10, 20, 30)).all()


def test_a_mask_is_ignored_beside_its_image() -> None:
    mask = np.random.default_rng(0).integers(0, 3, (10, 80), dtype=np.uint8)
    found = Frame(SIZE, LETTERBOX).mask(mask)
    small = Image.fromarray(mask).resize((64, 8), Image.Resampling.NEAREST)
    assert np.array_equal(found[12:20], np.asarray(small))
    assert (found[:12] == IGNORE).all()
    assert (found[20:] == IGNORE).all()


def test_what_is_stretched_fills_the_frame() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 20, 3), dtype=np.uint8)
    large = Image.fromarray(image).resize((64, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(Frame(SIZE).image(image), np.asarray(large))
    assert Frame(SIZE).box((40, 20)).of(image).shape == (32, 20, 3)


def test_padding_needs_a_colour() -> None:
    with pytest.raises(ValueError, match="colour of its padding"):
        Frame(SIZE, UNNAMED).image(np.zeros((40, 20, 3), np.uint8))


@pytest.mark.parametrize(
    ("mode", "padding", "message"),
    [("stretch", (1, 2, 3), "has no padding"), ("letterbox", (0, 0, 256), "0 to 255")],
)
def test_bad_state_is_refused(mode: str, padding: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Resize(mode=mode, padding=padding)


@pytest.fixture
def mixed_folder(tmp_path: Path) -> Path:
    """Images of unlike ratios, each of two classes by halves, and no ignored pixel anywhere."""
    root = tmp_path / "mixed"
    sizes = {"train": [(40, 20), (10, 80), (32, 64), (64, 64)], "val": [(20, 50)], "test": [(9, 9)]}
    rng = np.random.default_rng(0)
    for split, shapes in sizes.items():
        for number, (height, width) in enumerate(shapes):
            image = rng.integers(0, 80, (height, width, 3), dtype=np.uint8)
            mask = np.zeros((height, width), np.uint8)
            mask[:, : width // 2] = 1
            for kind, values in (("images", image), ("masks", mask)):
                place = root / split / kind / f"{number}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(place)
    (root / "dataset.yaml").write_text("classes: [ground, crack]\n")
    return root


def test_a_dataset_without_ignored_pixels_is_letterboxed(
    mixed_folder: Path, tmp_path: Path
) -> None:
    dataset = import_dataset(
        str(mixed_folder), size=SIZE, resize=UNNAMED, destination=tmp_path / "out"
    )
    info, train = dataset.info, dataset.split("train")
    content = np.concatenate(
        [train.image(row)[train.mask(row) != IGNORE] for row in range(len(train))]
    )
    # Nothing but pixels of images counts: neither in the statistics, nor in the classes' shares.
    assert len(content) == 32 * 16 + 8 * 64 + 32 * 64 + 32 * 32
    np.testing.assert_allclose(info.normalisation.mean, content.mean(0))
    np.testing.assert_allclose(info.normalisation.std, content.std(0))
    assert info.class_pixel_share == (0.5, 0.5)
    assert info.ignore_index is None
    # The colour is the mean of the train images, and so about 0 where they are normalised.
    assert info.resize == Resize(
        mode="letterbox", padding=tuple(int(v) for v in np.rint(content.mean(0)))
    )
    assert (train.image(0)[:, 0] == info.resize.padding).all()
    assert (train.mask(0)[:, 0] == IGNORE).all()
    assert open_dataset(tmp_path / "out").info == info


def test_folds_of_a_letterboxed_dataset_know_it(mixed_folder: Path, tmp_path: Path) -> None:
    dataset = import_dataset(
        str(mixed_folder), size=SIZE, resize=UNNAMED, destination=tmp_path / "out"
    )
    fold = deal_folds(dataset, 2, 0).write(0, tmp_path / "fold")
    assert fold.info.resize == dataset.info.resize


def test_both_ways_are_kept_apart(mixed_folder: Path, tmp_path: Path) -> None:
    source, cache = str(mixed_folder), tmp_path / "cache"
    stretched = cached_dataset(source, size=SIZE, cache=cache)
    boxed = cached_dataset(source, size=SIZE, resize=UNNAMED, cache=cache)
    assert stretched.info.resize == STRETCH
    assert boxed.root != stretched.root
    assert boxed.info.fingerprint != stretched.info.fingerprint
    # Who asks for the colour that was found gets what is there; another one is another dataset.
    named = cached_dataset(source, size=SIZE, resize=boxed.info.resize, cache=cache)
    assert named.root == boxed.root
    other = cached_dataset(source, size=SIZE, resize=LETTERBOX, cache=cache)
    assert other.info.resize == LETTERBOX
    assert other.info.fingerprint != boxed.info.fingerprint


def test_what_was_imported_otherwise_is_refused(mixed_folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "out"
    import_dataset(str(mixed_folder), size=SIZE, resize=LETTERBOX, destination=place)
    assert cached_dataset(str(place), size=SIZE, resize=UNNAMED).info.resize == LETTERBOX
    with pytest.raises(DataError, match=r"with resize letterbox, stretch is asked for: .*resize"):
        cached_dataset(str(place), size=SIZE)
    other = Resize(mode="letterbox", padding=(1, 1, 1))
    with pytest.raises(DataError, match=r"of the colour \(10, 20, 30\); the network knows"):
        cached_dataset(str(place), size=SIZE, resize=other)


def test_builtin_images_are_made_at_the_size_and_stay_as_they_are(tmp_path: Path) -> None:
    source = "builtin:surface-defects"
    stretched = cached_dataset(source, size=SIZE, cache=tmp_path)
    boxed = cached_dataset(source, size=SIZE, resize=UNNAMED, cache=tmp_path)
    assert boxed.info.fingerprint != stretched.info.fingerprint
    assert np.array_equal(boxed.split("val").image(0), stretched.split("val").image(0))
    mean = tuple(round(value) for value in boxed.info.normalisation.mean)
    assert boxed.info.resize == Resize(mode="letterbox", padding=mean)


def test_the_check_tells_what_a_letterbox_loses(mixed_folder: Path) -> None:
    assert check_folder(mixed_folder, frame=Frame(SIZE, UNNAMED)).faults == ()
    thin = np.zeros((3000, 1), np.uint8)
    thin[1500] = 2
    for kind, values in (("images", np.zeros((3000, 1, 3), np.uint8)), ("masks", thin)):
        Image.fromarray(values).save(mixed_folder / "train" / kind / "thin.png")
    (mixed_folder / "dataset.yaml").write_text("classes: [ground, crack, dot]\n")
    told = [str(fault) for fault in check_folder(mixed_folder, frame=Frame(SIZE, UNNAMED)).faults]
    assert len(told) == 1
    assert "no train pixel of class 'dot'" in told[0]


def test_stretched_datasets_lie_where_they_always_did() -> None:
    name = cache_name(Wanted(source="builtin:surface-defects", frame=Frame((96, 96)), split_seed=0))
    assert name == "surface-defects-96x96-4695b8a784"
