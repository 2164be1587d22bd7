"""A small folder of photos of different sizes whose truth is near what the bundle predicts."""

import numpy as np
import pytest
from PIL import Image

from automl.bundle.loading import Bundle

SHAPES = ((40, 56), (32, 48), (61, 35), (50, 50))


@pytest.fixture
def photos(bundle, tmp_path):
    """The folder of a dataset; pixel 0 of each mask is ignored."""
    opened = Bundle.load(bundle)
    random = np.random.default_rng(0)
    root = tmp_path / "photos"
    for split in ("train", "val", "test"):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for number, shape in enumerate(SHAPES):
            image = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
            mask = opened.predict(image).copy()
            wrong = random.random(shape) < 0.1 * (number + 1)
            mask[wrong] = random.integers(0, len(opened.manifest.classes), wrong.sum())
            mask[0, 0] = 99
            Image.fromarray(image).save(root / split / "images" / f"p{number}.png")
            Image.fromarray(mask).save(root / split / "masks" / f"p{number}.png")
    names = ", ".join(opened.manifest.classes)
    declared = f"name: photos\nclasses: [{names}]\nignore_index: 99\n"
    (root / "dataset.yaml").write_text(declared)
    return root
