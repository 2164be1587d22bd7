"""What a server answers, apart from who carries it: image files in, masks out, refusals by status.

The server reads no more of a request than `check` and `max_bytes` allow, decodes no more pixels
than it was told, and tells in one line of JSON why a request was refused.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from automl.bundle.manifest import Manifest
from automl.bundle.masks import mask_picture, png_bytes
from automl.bundle.predict import class_shares
from automl.data.decode import TooManyPixels, decode_image
from automl.errors import DataError

PREDICT, HEALTH, METRICS = "/predict", "/health", "/metrics"
_METHODS: Mapping[str, str] = {PREDICT: "POST", HEALTH: "GET", METRICS: "GET"}

PNG, JSON = "image/png", "application/json"
_FORMATS: Mapping[str, str] = {"png": PNG, "json": JSON}
_ANY_IMAGE = frozenset({PNG, "image/*", "*/*"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is accepted of a request; with a token only from those who know it."""

    max_bytes: int
    max_pixels: int
    token: bytes | None = field(default=None, repr=False)


class Refusal(Exception):  # noqa: N818  (an answer, not a fault)
    """A request that is not served: an HTTP status and the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: status, media type and content."""

    status: int
    media_type: str
    content: bytes


def refused(refusal: Refusal) -> Answer:
    """A refusal as an answer."""
    return Answer(refusal.status, JSON, json.dumps({"error": refusal.reason}).encode() + b"\n")


def check(method: str, path: str, headers: Mapping[str, str], limits: Limits) -> None:
    """Raise Refusal for a request that its head alone decides; header names are lower-case."""
    if path not in _METHODS:
        raise Refusal(404, f"no such path: there are {', '.join(_METHODS)}")
    if method != _METHODS[path]:
        raise Refusal(405, f"{path} takes {_METHODS[path]}, got {method}")
    if path != HEALTH and not _is_known(headers.get("authorization", ""), limits.token):
        raise Refusal(401, "a token is needed: Authorization: Bearer TOKEN")
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        raise Refusal(400, f"Content-Length must be a whole number, got {length}")
    check_size(int(length), limits)


def check_size(num_bytes: int, limits: Limits) -> None:
    """Raise Refusal for a content of more bytes than are accepted."""
    if num_bytes > limits.max_bytes:
        raise Refusal(413, f"an image may have {limits.max_bytes} bytes, this one has more")


def media_type(query: Mapping[str, str], accept: str) -> str:
    """What is asked for, by `?format=png|json` or else by the header Accept; PNG by default."""
    if "format" in query:
        if query["format"] not in _FORMATS:
            raise Refusal(400, f"format: allowed are png and json, got {query['format']}")
        return _FORMATS[query["format"]]
    wanted = [part.partition(";")[0].strip() for part in accept.split(",") if part.strip()]
    if not wanted:
        return PNG
    for each in wanted:
        if each in _ANY_IMAGE:
            return PNG
        if each in (JSON, "application/*"):
            return JSON
    raise Refusal(406, f"Accept: {PNG} and {JSON} can be had, got {accept}")


def decoded(content: bytes, limits: Limits) -> NDArray[np.uint8]:
    """The image (H, W, 3) in a request's content; raises Refusal."""
    if not content:
        raise Refusal(400, "the request has no content: send the bytes of an image file")
    try:
        return decode_image(content, "image", max_pixels=limits.max_pixels)
    except TooManyPixels as error:
        raise Refusal(413, str(error)) from error
    except DataError as error:
        raise Refusal(415, str(error)) from error


def answered(
    mask_hw: NDArray[np.uint8], manifest: Manifest, wanted: str, milliseconds: float
) -> Answer:
    """A mask as a PNG of class indices with a palette, or as JSON that holds the same PNG."""
    png = png_bytes(mask_picture(mask_hw, manifest.colours))
    if wanted == PNG:
        return Answer(200, PNG, png)
    counts = np.bincount(mask_hw.ravel(), minlength=len(manifest.classes))
    labels = {name: label for label, name in enumerate(manifest.classes)}
    plain = {
        "model": manifest.name,
        "width": mask_hw.shape[1],
        "height": mask_hw.shape[0],
        "milliseconds": round(milliseconds, 3),
        "classes": [
            {"label": labels[name], "name": name, "share": share}
            for name, share in class_shares(manifest.classes, counts)
        ],
        "mask_png": base64.b64encode(png).decode(),
    }
    return Answer(200, JSON, json.dumps(plain, ensure_ascii=False).encode() + b"\n")


def _is_known(authorization: str, token: bytes | None) -> bool:
    if token is None:
        return True
    kind, _, given = authorization.partition(" ")
    return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token)
