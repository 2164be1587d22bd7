import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from automl.data.dataset import open_dataset
from automl.data.views import PairedViews, RandomView
from automl.data.writing import DatasetWriter


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    root = tmp_path_factory.mktemp("views")
    rng = np.random.default_rng(0)
    with DatasetWriter(root, classes=("a", "b"), size=(32, 64)) as writer:
        for name, count in (("train", 5), ("val", 1), ("test", 1)):
            for number in range(count):
                image = rng.integers(0, 256, (32, 64, 3), dtype=np.uint8)
                mask = np.zeros((32, 64), dtype=np.uint8)
                mask[:, :32] = 1
                writer.add(name, f"{name}{number}", image, mask)
        writer.finish("noise", ignore_index=None)
    return open_dataset(root).split("train")


def test_a_view_is_that_of_its_seed_and_leaves_the_image_alone(split):
    image = split.image(0)
    before = image.copy()
    views = [RandomView((32, 64))(image, seed) for seed in (1, 1, 2)]
    assert np.array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])
    assert views[0].shape == image.shape
    assert views[0].dtype == np.uint8
    assert np.array_equal(image, before)


def test_batches_hold_two_views_of_each_image_and_repeat(split):
    views = PairedViews(split, batch_size=2, seed=3)
    assert len(views) == 2
    first, again = (list(views.batches(1)) for _ in range(2))
    assert [batch.images_nhwc.shape for batch in first] == [(4, 32, 64, 3)] * 2
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.images_nhwc, other.images_nhwc)
    assert not np.array_equal(first[0].images_nhwc, next(views.batches(2)).images_nhwc)
    pair = first[0].images_nhwc[[0, 2]].numpy()
    assert not np.array_equal(pair[0], pair[1]), "the two views differ"


@pytest.mark.parametrize("workers", [1, 3])
def test_loader_threads_prepare_the_same_views(split, workers, monkeypatch):
    alone = PairedViews(split, batch_size=2, seed=3)
    threaded = PairedViews(split, batch_size=2, seed=3, loader_workers=workers)
    expected = [list(alone.batches(epoch)) for epoch in range(2)]
    makers, honest = set(), RandomView.__call__

    def watched(view, image, seed):
        makers.add(threading.current_thread().name.split("_")[0])
        return honest(view, image, seed)

    monkeypatch.setattr(RandomView, "__call__", watched)
    for epoch, batches in enumerate(expected):
        for one, other in zip(batches, threaded.batches(epoch), strict=True):
            assert torch.equal(one.images_nhwc, other.images_nhwc)
            assert torch.equal(one.masks_nhw, other.masks_nhw)
    assert makers == {"automl-loader"}


def test_views_are_safe_with_threads(split):
    """All threads use one `RandomView` at once."""
    view, image = RandomView((32, 64)), split.image(0)
    expected = [view(image, seed) for seed in range(60)]
    with ThreadPoolExecutor(max_workers=4) as pool:
        found = list(pool.map(lambda seed: view(image, seed), range(60)))
    assert all(map(np.array_equal, found, expected))


def test_partners_are_views_of_one_image(tmp_path):
    """Images of one colour each, of three: a view of it has its tint, whatever was cropped."""
    with DatasetWriter(tmp_path, classes=("a", "b"), size=(32, 32)) as writer:
        mask = np.zeros((32, 32), dtype=np.uint8)
        mask[0] = 1
        for name in ("train", "val", "test"):
            for level in (10, 120, 240):
                writer.add(name, f"{name}{level}", np.full((32, 32, 3), level, np.uint8), mask)
        writer.finish("grey", ignore_index=None)
    views = PairedViews(open_dataset(tmp_path).split("train"), batch_size=8, seed=0)
    assert (views.images, len(views)) == (3, 1)
    (batch,) = views.batches(0)
    order = batch.images_nhwc.float().mean((1, 2, 3))
    assert order[:3].argsort().tolist() == order[3:].argsort().tolist()
