import base64
import io
import json
import zlib

import numpy as np
import pytest
from PIL import Image

from automl.bundle import service
from automl.bundle.service import JSON, PNG, Limits, Refusal

LIMITS = Limits(max_bytes=1000, max_pixels=10_000)
LOCKED = Limits(max_bytes=1000, max_pixels=10_000, token=b"secret-secret-secret")


def png(size, mode="RGB"):
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "PNG")
    return buffer.getvalue()


def status(call, *given):
    with pytest.raises(Refusal) as caught:
        call(*given)
    return caught.value.status, caught.value.reason


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("GET", "/", {}, 404),
        ("GET", "/predict", {}, 405),
        ("POST", "/health", {}, 405),
        ("DELETE", "/metrics", {}, 405),
        ("POST", "/predict", {"content-length": "1001"}, 413),
        ("POST", "/predict", {"content-length": "-1"}, 400),
        ("POST", "/predict", {"content-length": "\u0661"}, 400),
    ],
)
def test_a_head_that_is_wrong_is_refused(method, path, headers, expected):
    assert status(service.check, method, path, headers, LIMITS)[0] == expected


def test_a_head_that_is_right_is_not():
    service.check("POST", "/predict", {"content-length": "1000"}, LIMITS)
    service.check("POST", "/predict", {}, LIMITS)
    service.check("GET", "/health", {}, LOCKED)


@pytest.mark.parametrize(
    "given",
    ["", "Bearer", "Bearer wrong", "Basic secret-secret-secret", "secret-secret-secret", "\u00e9"],
)
def test_without_the_token_nothing_but_health_is_answered(given):
    for method, path in (("POST", "/predict"), ("GET", "/metrics")):
        headers = {"authorization": given}
        assert status(service.check, method, path, headers, LOCKED)[0] == 401
        service.check(method, path, {"authorization": "bearer secret-secret-secret"}, LOCKED)
    assert "secret" not in repr(LOCKED)


@pytest.mark.parametrize(
    ("query", "accept", "expected"),
    [
        ({}, "", PNG),
        ({}, "*/*", PNG),
        ({}, "text/html, image/png;q=0.8", PNG),
        ({}, "application/json", JSON),
        ({}, "application/json, */*", JSON),
        ({"format": "json"}, "image/png", JSON),
        ({"format": "png"}, "application/json", PNG),
    ],
)
def test_the_query_decides_before_the_header(query, accept, expected):
    assert service.media_type(query, accept) == expected


def test_a_form_that_cannot_be_had_is_refused():
    assert status(service.media_type, {"format": "gif"}, "")[0] == 400
    assert status(service.media_type, {}, "text/html")[0] == 406


def test_what_is_no_image_is_refused():
    assert status(service.decoded, b"", LIMITS)[0] == 400
    assert status(service.decoded, b"no image", LIMITS)[0] == 415
    assert status(service.decoded, png((30, 30))[:60], LIMITS)[0] == 415


def test_too_many_pixels_are_refused_by_the_head_of_the_file():
    assert service.decoded(png((100, 100)), LIMITS).shape == (100, 100, 3)
    got, reason = status(service.decoded, png((100, 101)), LIMITS)
    assert (got, reason) == (413, "image: 100 x 101 pixels, at most 10000 are allowed")
    bomb = bytearray(png((8, 8)))
    bomb[16:24] = (60_000).to_bytes(4) + (60_000).to_bytes(4)
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4)
    got, reason = status(service.decoded, bytes(bomb), LIMITS)
    assert got == 413
    assert "exceeds limit" in reason


def test_formats_that_run_programs_are_not_tried():
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    assert status(service.decoded, eps, LIMITS)[0] == 415


def test_answers_hold_the_mask(make_manifest):
    mask_hw = np.array([[0, 1, 1], [4, 1, 1]], np.uint8)
    manifest = make_manifest()
    picture = service.answered(mask_hw, manifest, PNG, 1.5)
    assert (picture.status, picture.media_type) == (200, PNG)
    with Image.open(io.BytesIO(picture.content)) as mask:
        np.testing.assert_array_equal(np.asarray(mask), mask_hw)
    answer = service.answered(mask_hw, manifest, JSON, 1.5)
    plain = json.loads(answer.content)
    assert base64.b64decode(plain.pop("mask_png")) == picture.content
    assert [each["label"] for each in plain["classes"]] == [0, 1, 4]
    assert plain["classes"][1] == {"label": 1, "name": "scratch", "share": pytest.approx(4 / 6)}
    assert (plain["width"], plain["height"], plain["milliseconds"]) == (3, 2, 1.5)


def test_a_refusal_is_one_line_of_json():
    answer = service.refused(Refusal(413, 'too "much"'))
    assert (answer.status, json.loads(answer.content)) == (413, {"error": 'too "much"'})
