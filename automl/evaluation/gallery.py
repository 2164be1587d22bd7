"""The worst images as one page: image, truth, prediction, and where they differ.

The page holds its pictures itself and links to nothing.

Shapes: H, W of an image.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from automl.bundle.inference import Predict
from automl.bundle.manifest import Manifest
from automl.bundle.masks import Colour, mask_picture
from automl.evaluation.pictures import PictureSet
from automl.evaluation.scoring import ImageScores
from automl.records import IGNORE

UInt8 = NDArray[np.uint8]

#: Pictures are shown no wider than this many pixels.
_WIDTH = 360
_JPEG_QUALITY = 88
_RIGHT: Colour = (40, 40, 40)
_WRONG: Colour = (225, 30, 30)
_UNKNOWN: Colour = (255, 255, 255)

_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:1.5em;color:#222;background:#fff}"
    "figure{margin:0}figcaption{font-size:13px;color:#555}"
    ".row{display:flex;flex-wrap:wrap;gap:10px;margin-bottom:6px}"
    "h2{font-size:16px;margin:1.4em 0 .3em}"
    ".key span{display:inline-block;margin-right:1em;white-space:nowrap}"
    ".key i{display:inline-block;width:1em;height:1em;margin-right:.35em;"
    "vertical-align:-.15em;border:1px solid #999}"
)


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    miou: float
    worst: str
    panels: tuple[tuple[str, Image.Image], ...]


def gallery_page(
    pictures: PictureSet, predict: Predict, scores: ImageScores, manifest: Manifest, count: int
) -> str:
    """The HTML of the `count` images with the lowest mIoU of their own, the worst first."""
    order = [int(n) for n in np.argsort(scores.miou_n, kind="stable")]
    chosen = [n for n in order if np.isfinite(scores.miou_n[n])][:count]
    entries = [_entry(n, pictures, predict, scores, manifest) for n in chosen]
    title = f"{manifest.name}: the {len(entries)} worst of {len(pictures)} {pictures.split} images"
    return _page(title, entries, manifest)


def error_picture(pred_hw: UInt8, target_hw: UInt8) -> Image.Image:
    """Dark where the prediction is right, red where it is wrong, white where it is not scored."""
    table = np.array([_RIGHT, _WRONG, _UNKNOWN], np.uint8)
    state_hw = np.where(target_hw == IGNORE, 2, (pred_hw != target_hw).astype(np.int64))
    return Image.fromarray(table[state_hw])


def _entry(
    index: int,
    pictures: PictureSet,
    predict: Predict,
    scores: ImageScores,
    manifest: Manifest,
) -> _Entry:
    picture = pictures.read(index)
    pred_hw = predict(picture.image)
    panels = (
        ("image", Image.fromarray(picture.image)),
        ("truth", mask_picture(picture.target, manifest.colours)),
        ("prediction", mask_picture(pred_hw, manifest.colours)),
        ("errors", error_picture(pred_hw, picture.target)),
    )
    return _Entry(
        picture.name, float(scores.miou_n[index]), _confusions(scores, index, manifest), panels
    )


def _confusions(scores: ImageScores, index: int, manifest: Manifest) -> str:
    """The three kinds of error that most pixels of an image have."""
    counts_kk = scores.confusion_nkk[index].copy()
    total = max(1, int(counts_kk.sum()))
    np.fill_diagonal(counts_kk, 0)
    worst = np.argsort(counts_kk, axis=None, kind="stable")[::-1][:3]
    told = []
    for true, pred in zip(*np.unravel_index(worst, counts_kk.shape), strict=True):
        if counts_kk[true, pred]:
            share = counts_kk[true, pred] / total
            told.append(f"{manifest.classes[true]} taken for {manifest.classes[pred]}: {share:.1%}")
    return "; ".join(told)


def _page(title: str, entries: Sequence[_Entry], manifest: Manifest) -> str:
    key = "".join(
        f"<span><i style='background:rgb{colour}'></i>{html.escape(name)}</span>"
        for name, colour in zip(manifest.classes, manifest.colours, strict=True)
    )
    errors = "".join(
        f"<span><i style='background:rgb{colour}'></i>{name}</span>"
        for name, colour in (("right", _RIGHT), ("wrong", _WRONG), ("not scored", _UNKNOWN))
    )
    body = "".join(_section(place, entry) for place, entry in enumerate(entries, start=1))
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{html.escape(title)}</h1><p class='key'>{key}</p>"
        f"<p class='key'>errors: {errors}</p>{body}</body></html>\n"
    )


def _section(place: int, entry: _Entry) -> str:
    panels = "".join(
        f"<figure><img src='{_data_url(name, picture)}' alt='{name}'>"
        f"<figcaption>{name}</figcaption></figure>"
        for name, picture in entry.panels
    )
    return (
        f"<h2>{place}. {html.escape(entry.name)}: mIoU {entry.miou:.3f}</h2>"
        f"<p>{html.escape(entry.worst)}</p><div class='row'>{panels}</div>"
    )


def _data_url(name: str, picture: Image.Image) -> str:
    """A picture within a page: photos as JPEG, masks as PNG, whose colours must stay."""
    shrunk = picture
    if picture.width > _WIDTH:
        height = max(1, round(picture.height * _WIDTH / picture.width))
        is_photo = name == "image"
        how = Image.Resampling.LANCZOS if is_photo else Image.Resampling.NEAREST
        shrunk = picture.resize((_WIDTH, height), how)
    kind = "JPEG" if name == "image" else "PNG"
    buffer = io.BytesIO()
    shrunk.save(buffer, format=kind, quality=_JPEG_QUALITY, optimize=True)
    content = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{content}"
