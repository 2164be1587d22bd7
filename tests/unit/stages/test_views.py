from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from automl.bundle.inference import InferencePlan
from automl.stages import views as stage
from automl.stages.views import Views, score_views, views_section, views_summary

FLIPPED = {"export": {"tta": {"flip": True}}}


class Rows:
    """A split of so many random images."""

    def __init__(self, seed, count, size, num_classes):
        rng = np.random.default_rng(seed)
        self.images = rng.integers(0, 256, (count, *size, 3), np.uint8)
        self.masks = rng.integers(0, num_classes, (count, *size), np.uint8)
        self.masks[:, :2] = 255

    def __len__(self):
        return len(self.images)

    def image(self, row):
        return self.images[row]

    def mask(self, row):
        return self.masks[row]


@pytest.fixture
def splits(pristine_bundle, make_manifest):
    manifest = make_manifest()
    size, num_classes = manifest.input.size, len(manifest.classes)
    return {name: Rows(n, 2, size, num_classes) for n, name in enumerate(("val", "test"))}


@pytest.fixture
def of(study, splits, make_manifest):
    """Make a study of the bundle's classes and size."""

    def make(**sections):
        plain, manifest = study(**sections), make_manifest()
        info = replace(plain.dataset.info, classes=manifest.classes, size=manifest.input.size)
        dataset = SimpleNamespace(info=info, split=splits.__getitem__, root=plain.dataset.root)
        return replace(plain, dataset=dataset)

    return make


def mean_iou(net, normalisation, rows):
    """By the network itself: the mean of its probabilities and of the mirror image's."""
    right, mine, true = (np.zeros(5) for _ in range(3))
    for image, mask in zip(rows.images, rows.masks, strict=True):
        pixels = (image - np.array(normalisation.mean)) / np.array(normalisation.std)
        batch = torch.tensor(pixels.transpose(2, 0, 1), dtype=torch.float32)[None]
        with torch.no_grad():
            plain = net(batch).softmax(1)
            mirrored = net(batch.flip(3)).softmax(1).flip(3)
        guess = (plain + mirrored)[0].argmax(0).numpy()[mask != 255]
        labels = mask[mask != 255]
        for k in range(5):
            right[k] += ((guess == k) & (labels == k)).sum()
            mine[k] += (guess == k).sum()
            true[k] += (labels == k).sum()
    return float(np.mean(right / (mine + true - right)))


def test_bundles_are_scored_by_the_mean_of_their_views(of, splits, net, pristine_bundle):
    views = score_views(of(**FLIPPED), {"best": pristine_bundle})
    normalisation = stage.Bundle.load(pristine_bundle).manifest.input.normalisation
    for split, rows in splits.items():
        expected = mean_iou(net, normalisation, rows)
        assert views.averaged["best"][split] == pytest.approx(expected, abs=2e-4)
    assert views.alone["best"] == {"val": 0.71, "test": 0.69}, "as the bundle records it"


def test_each_content_is_scored_once_and_other_views_anew(of, pristine_bundle, monkeypatch):
    scored, count = [], stage.counts_of
    monkeypatch.setattr(stage, "counts_of", lambda *given: scored.append(given) or count(*given))
    bundles = {"best": pristine_bundle, "smallest": pristine_bundle}
    first = score_views(of(**FLIPPED), bundles)
    assert len(scored) == 2, "val and test"
    assert score_views(of(**FLIPPED), bundles) == first
    assert len(scored) == 2
    score_views(of(export={"tta": {"scales": [1.0, 1.25]}}), bundles)
    assert len(scored) == 4


def test_without_views_nothing_is_scored_or_told(of, pristine_bundle):
    assert score_views(of(), {"best": pristine_bundle}) is None
    assert views_section(None) == views_summary(None) == []


VIEWS = Views(
    metric="miou",
    plan=InferencePlan(scales=(0.75, 1.0, 1.25), flip=True),
    alone={"best": {"val": 0.5, "test": 0.4}, "fp32": {"val": 0.6}},
    averaged={"best": {"val": 0.52, "test": 0.39}, "fp32": {"val": 0.6}},
)


def test_the_report_tells_how_it_is_done_and_what_it_gives():
    lines = views_section(VIEWS)
    assert lines[0] == "## Averaged views"
    assert "6 views (scale 0.75, 1, 1.25, each also mirrored)" in lines[2]
    assert "`--tta-scales 0.75,1,1.25 --tta-flip`" in lines[2]
    assert "| best | 0.5000 | 0.5200 | 0.4000 | 0.3900 |" in lines
    assert "| fp32 | 0.6000 | 0.6000 | - | - |" in lines


def test_the_end_tells_what_the_first_bundle_gains():
    (line,) = views_summary(VIEWS)
    assert line == (
        "averaged views (--tta-scales 0.75,1,1.25 --tta-flip): best miou 0.5200 on val (+0.0200), "
        "0.3900 on test (-0.0100)"
    )
