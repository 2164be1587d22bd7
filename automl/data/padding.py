"""The colour beside letterboxed images: the mean of the train images.

A network that is normalised by its data has 0 there, within half a grey level.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from automl.data.check import examine_all
from automl.data.dataset import INFO_FILE, dataset_document, open_dataset
from automl.data.folders import FolderDataset
from automl.data.letterbox import Frame
from automl.data.writing import Moments
from automl.records import Normalisation, canonical_json, to_json
from automl.resize import Resize
from automl.store.atomic import write_json

#: Train images that are read for it, evenly spread. They are read once more when all are imported.
_MOST_IMAGES = 256


def with_padding(wanted: Frame, dataset: FolderDataset) -> Frame:
    """The frame with the colour of its padding, where that was left to the data."""
    if not wanted.resize.is_letterbox or wanted.resize.padding is not None:
        return wanted
    moments = Moments()
    for _, examined in examine_all(_some(dataset), wanted.for_counting(), None):
        if examined.image is not None and examined.mask is not None:
            moments.add(examined.image, examined.mask)
    return replace(wanted, resize=_coloured(moments.normalisation()))


def bind_resize(root: Path, wanted: Resize) -> None:
    """Note a letterbox in a dataset whose images were made at its size: they need no padding."""
    if not wanted.is_letterbox:
        return
    dataset = open_dataset(root)
    info = dataset.info
    resize = _coloured(info.normalisation) if wanted.padding is None else wanted
    known = hashlib.sha256((info.fingerprint + canonical_json(to_json(resize))).encode())
    told = replace(info, resize=resize, fingerprint=known.hexdigest())
    write_json(root / INFO_FILE, dataset_document(told, dataset.warnings))


def _some(dataset: FolderDataset) -> FolderDataset:
    """The dataset with nothing but some of its train samples."""
    samples = dataset.samples["train"]
    count = min(len(samples), _MOST_IMAGES)
    chosen = tuple(samples[place * len(samples) // count] for place in range(count))
    return replace(dataset, samples={"train": chosen, "val": (), "test": ()})


def _coloured(normalisation: Normalisation) -> Resize:
    red, green, blue = (int(np.rint(value)) for value in normalisation.mean)
    return Resize(mode="letterbox", padding=(red, green, blue))
