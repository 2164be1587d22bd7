import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl.bundle.inference import (
    InferencePlan,
    predicted,
    predictor,
    probabilities,
    softmax,
    windowed,
)
from automl.bundle.loading import Bundle
from automl.bundle.logits import LogitsSession

SIZES = ((32, 48), (61, 83), (20, 30), (32, 90), (100, 48), (1, 1))


def photo(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture
def opened(bundle):
    return Bundle.load(bundle)


@pytest.fixture
def logits(opened):
    return LogitsSession.of(opened, threads=1).run


@pytest.mark.parametrize("size", SIZES)
def test_the_argmax_of_the_logits_is_the_mask_of_the_bundle(opened, logits, size):
    image = photo(size)
    found = logits(image)
    assert found.shape == (5, *size)
    np.testing.assert_array_equal(found.argmax(0), opened.predict(image))


@pytest.mark.parametrize("window", [(61, 83), (500, 500), (61, 200)])
def test_a_window_that_covers_the_image_gives_the_mask_of_the_bundle(opened, window):
    image = photo((61, 83))
    plan = InferencePlan(window=window)
    found = predictor(opened, plan, threads=1)(image)
    np.testing.assert_array_equal(found, opened.predict(image))


@pytest.mark.parametrize("scales", [(0.5,), (1.0,), (1.6,), (0.75, 1.0, 1.25)])
@pytest.mark.parametrize("window", [None, (40, 30)])
def test_views_of_pixels_that_see_themselves_alone_agree(scales, window):
    """Of a network that looks at single pixels every view gives the same, so their mean does."""

    def of_pixels(image_hwc):
        return image_hwc.transpose(2, 0, 1).astype(np.float32) / 50

    image = photo((47, 61))
    plan = InferencePlan(window=window, scales=scales, flip=True)
    found = probabilities(of_pixels, image, plan)
    np.testing.assert_allclose(found, softmax(of_pixels(image)), atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)


def test_a_mirrored_image_gives_the_mirrored_mask(logits):
    image = photo((40, 60))
    plan = InferencePlan(scales=(1.0,), flip=True)
    found = probabilities(logits, image, plan)
    np.testing.assert_allclose(
        probabilities(logits, image[:, ::-1], plan)[:, :, ::-1], found, atol=1e-6
    )
    by_hand = (softmax(logits(image)) + softmax(logits(image[:, ::-1]))[:, :, ::-1]) / 2
    np.testing.assert_allclose(found, by_hand, atol=1e-6)
    np.testing.assert_array_equal(predicted(logits, image, plan), by_hand.argmax(0))


def test_a_scale_shows_the_network_a_smaller_or_a_larger_field():
    seen = []

    def network(image_hwc):
        seen.append(image_hwc.shape[:2])
        return np.zeros((2, *image_hwc.shape[:2]), np.float32)

    predicted(network, photo((40, 60)), InferencePlan(scales=(0.5,)))
    assert seen == [(80, 120)]
    seen.clear()
    predicted(network, photo((40, 60)), InferencePlan(scales=(2.0,), overlap=0.0))
    assert seen == [(20, 30)] * 4


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    sides=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    overlap=st.floats(0, 0.9),
)
def test_windows_cover_the_image_and_overlap_at_least_so_much(height, width, sides, overlap):
    window = (min(sides[0], height), min(sides[1], width))
    corners = []
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.indices((height, width))

    def network(part_hwc):
        corners.append(tuple(map(int, part_hwc[0, 0, :2])))
        assert part_hwc.shape[:2] == window or len(corners) == 1
        return part_hwc.transpose(2, 0, 1).astype(np.float32)

    found = windowed(network, image, window, overlap)
    np.testing.assert_allclose(found, image.transpose(2, 0, 1), atol=1e-3)
    for axis in (0, 1):
        starts = sorted({corner[axis] for corner in corners})
        steps = np.diff(starts)
        assert (steps <= max(1, round(window[axis] * (1 - overlap)))).all()


def test_logits_of_windows_count_less_at_their_borders():
    """Two windows of opposite opinion: each has its way where it is nearer to its middle."""
    calls = []

    def network(image_hwc):
        calls.append(None)
        value = np.float32(-1 if len(calls) == 1 else 1)
        return np.full((1, *image_hwc.shape[:2]), value, np.float32)

    row = windowed(network, photo((8, 24)), (8, 16), 0.5)[0, 4]
    assert (np.diff(row) >= 0).all()
    assert (row[:8] == -1).all()
    assert (row[16:] == 1).all()
    assert len(np.unique(row)) > 4


def test_plans_refuse_what_cannot_be():
    for change, told in (
        ({"scales": ()}, "scales must be 0.25 to 4"),
        ({"scales": (1.0, 9.0)}, "scales must be 0.25 to 4"),
        ({"scales": (1.0, 1.0)}, "differ"),
        ({"overlap": 0.95}, "overlap"),
        ({"window": (0, 5)}, "window"),
    ):
        with pytest.raises(ValueError, match=told):
            InferencePlan(**change)
    assert InferencePlan().is_plain
    text = InferencePlan(window=(64, 32), scales=(0.75, 1.0), flip=True).text()
    assert text == (
        "probabilities of 4 views (scale 0.75, 1, each also mirrored); "
        "windows of 64 x 32, 25% overlap, Hann weights"
    )
