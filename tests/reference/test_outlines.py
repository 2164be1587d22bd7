"""Boundary F1, Hausdorff distance, components and panoptic quality against other definitions."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import cKDTree

from automl.measurement.boundary import Tolerance, boundary_f1
from automl.measurement.components import components
from automl.measurement.confusion import count_confusion, normalised_rows
from automl.measurement.hausdorff import hausdorff_95
from automl.measurement.outlines import closed_outline, distances_to, inner_outline
from automl.measurement.panoptic import (
    Segments,
    component_instances,
    panoptic_counts,
    panoptic_quality,
)
from automl.measurement.quality import confusion_matrix

CLASSES = 4
TWO = Tolerance(2, "pixels")


@st.composite
def masks(draw):
    """A prediction and a target of smooth regions, some of the target ignored."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 17)), draw(st.integers(1, 17)))
    blur = draw(st.sampled_from([0.0, 1.0, 2.5]))
    target = ndimage.gaussian_filter(random.random((CLASSES, *shape)), (0, blur, blur)).argmax(0)
    shift = random.integers(-2, 3, 2)
    pred = np.roll(target, shift, (0, 1))
    pred[random.random(shape) < 0.05] = random.integers(CLASSES)
    target[random.random(shape) < draw(st.sampled_from([0.0, 0.2, 0.6, 1.0]))] = 255
    return pred.astype(np.uint8), target.astype(np.uint8)


def neighbours(mask, y, x):
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        inside = 0 <= y + dy < mask.shape[0] and 0 <= x + dx < mask.shape[1]
        yield mask[y + dy, x + dx] if inside else None


def outline_points(mask, label, *, closed):
    """Outlines pixel by pixel, from labels in which 255 is ignored."""
    found = []
    for y, x in product(*map(range, mask.shape)):
        others = [other for other in neighbours(mask, y, x) if other != label]
        if not closed:
            others = [other for other in others if other not in (None, 255)]
        if mask[y, x] == label and others:
            found.append((y, x))
    return np.array(found, float).reshape(-1, 2)


@settings(deadline=None, max_examples=60)
@given(masks())
def test_boundary_f1_is_that_of_nearest_neighbours(pair):
    pred, target = pair
    pred_known = np.where(target == 255, 255, pred)
    for label, score in enumerate(boundary_f1(pred, target, CLASSES, TWO)):
        assert score == pytest.approx(expected_f1(pred_known, target, label), nan_ok=True)


def expected_f1(pred_known, target, label):
    """By cases: the class in how many of the masks, and how many of its regions have an outline."""
    regions = [{*map(tuple, np.argwhere(mask == label).tolist())} for mask in (pred_known, target)]
    if not all(regions):
        return 0.0 if any(regions) else math.nan
    mine, true = (outline_points(mask, label, closed=False) for mask in (pred_known, target))
    if not len(mine) and not len(true):
        return 1.0 if regions[0] == regions[1] else 0.0
    if not len(mine) or not len(true):
        return 0.0
    precision = (cKDTree(true).query(mine)[0] <= 2).mean()
    recall = (cKDTree(mine).query(true)[0] <= 2).mean()
    both = precision + recall
    return 2 * precision * recall / both if both else 0.0


@pytest.mark.parametrize(
    ("pred", "target", "scores"),
    [
        ("0000", "1111", [0, 0]),  # wholly wrong, and no outline in either mask
        ("0000", "1.11", [0, 0]),
        ("1111", "1111", [math.nan, 1]),
        ("0000", "....", [math.nan, math.nan]),
        ("1111", "0111", [0, 0]),  # of class 1 only the truth has an outline
        ("0.11", "1.00", [0, 0]),  # in both masks, outlined in neither, and nowhere the same
        ("0011", "0011", [1, 1]),
    ],
)
def test_regions_without_an_outline_count_in_boundary_f1(pred, target, scores):
    masks = [np.array([[255 if c == "." else int(c) for c in row]] * 3) for row in (pred, target)]
    np.testing.assert_array_equal(boundary_f1(*masks, 2, Tolerance(0, "pixels")), scores)


@settings(deadline=None, max_examples=60)
@given(masks())
def test_hausdorff_95_is_that_of_nearest_neighbours(pair):
    pred, target = pair
    pred_known = np.where(target == 255, 255, pred)
    for label, distance in enumerate(hausdorff_95(pred, target, CLASSES)):
        mine = outline_points(pred_known, label, closed=True)
        true = outline_points(target, label, closed=True)
        if not len(mine) and not len(true):
            assert math.isnan(distance)
        elif not len(mine) or not len(true):
            assert distance == math.hypot(*target.shape)
        else:
            there = np.percentile(cKDTree(true).query(mine)[0], 95)
            back = np.percentile(cKDTree(mine).query(true)[0], 95)
            assert distance == pytest.approx(max(there, back))


@settings(deadline=None, max_examples=60)
@given(masks())
def test_distances_are_those_of_a_distance_transform(pair):
    regions = [mask == 1 for mask in pair]
    outlines = [closed_outline(region) for region in regions]
    if not outlines[1].any():
        with pytest.raises(ValueError, match="empty outline"):
            distances_to(*outlines)
        return
    expected = ndimage.distance_transform_edt(~outlines[1])[outlines[0]]
    np.testing.assert_allclose(distances_to(*outlines), expected)


def test_distances_are_the_same_however_many_points_are_held_at_once(monkeypatch):
    random = np.random.default_rng(0)
    points, outline = random.random((2, 30, 41)) < 0.2
    whole = distances_to(points, outline)
    monkeypatch.setattr("automl.measurement.outlines._AT_ONCE", 100)
    np.testing.assert_array_equal(distances_to(points, outline), whole)


def test_a_closed_outline_is_what_erosion_takes_away():
    region = ndimage.gaussian_filter(np.random.default_rng(1).random((40, 50)), 2) > 0.5
    np.testing.assert_array_equal(closed_outline(region), region & ~ndimage.binary_erosion(region))
    whole = np.ones((4, 5), bool)
    assert not inner_outline(whole, whole).any()


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(1, 24), st.integers(1, 24), st.floats(0, 1))
def test_components_are_those_of_scipy(seed, height, width, share):
    region = np.random.default_rng(seed).random((height, width)) < share
    expected, _ = ndimage.label(region, structure=np.ones((3, 3)))
    np.testing.assert_array_equal(components(region), expected)


def test_components_of_a_spiral_are_one():
    spiral = np.zeros((41, 41), bool)
    y, x, dy, dx = 0, 0, 0, 1
    for step in [40, 40, 40, *(n for n in range(38, 1, -2) for _ in range(2))]:
        for _ in range(step):
            spiral[y, x] = True
            y, x = y + dy, x + dx
        dy, dx = dx, -dy
    assert components(spiral).max() == 1


def segments_of(mask, label):
    """The connected parts of a class as sets of pixels, whatever is ignored."""
    numbers, count = ndimage.label(mask == label, np.ones((3, 3)))
    return [{*map(tuple, np.argwhere(numbers == n).tolist())} for n in range(1, count + 1)]


def panoptic_by_pairs(predicted, true, ignored):
    """PQ of one class from sets of pixels, by section 4 of the source, its rules of void included.

    Void pixels are taken from a predicted segment for its IoU; after that, one without a match of
    which more than half is void is no false positive.
    """
    ious = {
        (p, t): len((predicted[p] - ignored) & true[t]) / len((predicted[p] - ignored) | true[t])
        for p, t in product(range(len(predicted)), range(len(true)))
    }
    matches = {pair: iou for pair, iou in ious.items() if iou > 0.5}
    found, met = {p for p, _ in matches}, {t for _, t in matches}
    false = [
        segment
        for p, segment in enumerate(predicted)
        if p not in found and 2 * len(segment & ignored) <= len(segment)
    ]
    instances = len(matches) + len(false) / 2 + (len(true) - len(met)) / 2
    return sum(matches.values()) / instances if instances else math.nan


@settings(deadline=None, max_examples=100)
@given(masks())
def test_panoptic_quality_is_that_of_comparing_all_pairs(pair):
    pred, target = pair
    counts = panoptic_counts(
        component_instances(pred, CLASSES), component_instances(target, CLASSES), CLASSES
    )
    ignored = {*map(tuple, np.argwhere(target == 255).tolist())}
    for label, quality in enumerate(panoptic_quality(counts)):
        expected = panoptic_by_pairs(segments_of(pred, label), segments_of(target, label), ignored)
        assert quality == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("pred", "target", "counts"),
    [
        # The IoU, true positives, false positives and false negatives of class 1.
        ("111110", "...000", [0, 0, 0, 0]),  # 3 of 5 pixels ignored: a guess nobody can judge
        ("111100", "..0000", [0, 0, 1, 0]),  # 2 of 4, not more than half
        ("111100", "...100", [1, 1, 0, 0]),  # matched, however much of it is ignored
        ("111111", "1....1", [0, 0, 0, 2]),  # one segment across what is ignored meets two
        ("1111.0", "11...0", [1, 1, 0, 0]),  # a prediction may be ignored as well
    ],
)
def test_a_segment_that_is_mostly_ignored_is_no_false_positive(pred, target, counts):
    mine, true = (
        component_instances(np.array([[255 if c == "." else int(c) for c in row]]), 2)
        for row in (pred, target)
    )
    np.testing.assert_array_equal(panoptic_counts(mine, true, 2)[1], counts)


def test_given_instances_part_what_touches():
    labels = np.ones((2, 6), np.uint8)
    true = Segments(labels, np.array([[7, 7, 7, 9, 9, 9]] * 2))
    assert panoptic_quality(panoptic_counts(true, true, 2))[1] == 1
    joined = component_instances(labels, 2)
    # One instance of 12 pixels meets two of 6, with an IoU of 1/2 each: no match.
    np.testing.assert_array_equal(panoptic_counts(joined, true, 2)[1], [0, 0, 1, 2])


METRICS = {
    "boundary_f1": lambda pred, target: boundary_f1(pred, target, CLASSES, TWO),
    "hausdorff_95": lambda pred, target: hausdorff_95(pred, target, CLASSES),
    "panoptic": lambda pred, target: panoptic_counts(
        component_instances(pred, CLASSES), component_instances(target, CLASSES), CLASSES
    ),
    "confusion": lambda pred, target: count_confusion(pred, target, CLASSES),
}


@pytest.mark.parametrize("name", METRICS)
@settings(deadline=None, max_examples=30)
@given(pair=masks(), order=st.permutations(range(CLASSES)))
def test_renaming_the_classes_renames_the_scores(name, pair, order):
    pred, target = pair
    table = np.full(256, 255, np.uint8)
    table[:CLASSES] = order
    plain, renamed = METRICS[name](pred, target), METRICS[name](table[pred], table[target])
    place = list(order)
    renamed = renamed[place][:, place] if name == "confusion" else renamed[place]
    np.testing.assert_allclose(renamed, plain)


@pytest.mark.parametrize("name", [name for name in METRICS if name != "panoptic"])
@settings(deadline=None, max_examples=30)
@given(pair=masks(), seed=st.integers(0, 2**32 - 1))
def test_what_is_predicted_at_ignored_pixels_plays_no_part(name, pair, seed):
    pred, target = pair
    noise = np.random.default_rng(seed).integers(0, CLASSES, pred.shape).astype(np.uint8)
    other = np.where(target == 255, noise, pred)
    np.testing.assert_array_equal(METRICS[name](other, target), METRICS[name](pred, target))


@settings(deadline=None, max_examples=30)
@given(masks())
def test_both_confusion_matrices_count_alike_and_rows_are_shares(pair):
    import torch

    pred, target = pair
    ours = count_confusion(pred, target, CLASSES)
    both = (torch.from_numpy(each) for each in pair)
    np.testing.assert_array_equal(ours, confusion_matrix(*both, CLASSES).numpy())
    shares = normalised_rows(ours)
    for row, counts in zip(shares, ours, strict=True):
        assert row.sum() == pytest.approx(1 if counts.sum() else 0)
        np.testing.assert_allclose(row * counts.sum(), counts)


def test_labels_that_are_no_class_are_refused():
    good = np.zeros((2, 2), np.uint8)
    with pytest.raises(ValueError, match=r"prediction labels must be 0 to 3 .* got 0 to 4"):
        count_confusion(np.array([[0, 4], [0, 0]]), good, CLASSES)
    with pytest.raises(ValueError, match="one shape"):
        count_confusion(good, good[:1], CLASSES)


def test_a_tolerance_is_of_pixels_or_of_the_diagonal():
    assert Tolerance(0.01, "diagonal").pixels((30, 40)) == pytest.approx(0.5)
    assert Tolerance(3, "pixels").pixels((30, 40)) == 3
    for value, unit in ((-1.0, "pixels"), (math.nan, "pixels"), (1.0, "metres")):
        with pytest.raises(ValueError, match=r"tolerance|unit"):
            Tolerance(value, unit)
