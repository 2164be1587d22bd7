"""A bundle behind HTTP, without a server: the replica as Ray Serve would call it."""

import asyncio
import io

import numpy as np
import pytest
from PIL import Image

from automl.bundle.loading import Bundle
from automl.errors import BundleError, UsageError

starlette = pytest.importorskip("starlette.requests", reason="the extra [serve] is not installed")

# Ray Serve's own, at import.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")


def ask(service, method, content=b"", chunk=2**16):
    """What the service answers to a request that comes in chunks."""
    pieces = [content[at : at + chunk] for at in range(0, len(content), chunk)]

    async def receive():
        piece = pieces.pop(0) if pieces else b""
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    scope = {"type": "http", "method": method, "path": "/", "headers": [], "query_string": b""}
    return asyncio.run(service(starlette.Request(scope, receive)))


@pytest.fixture
def service(pristine_bundle):
    from automl.distributed.serving import MaskService

    return MaskService(str(pristine_bundle), threads=1)


def test_the_answer_is_the_mask_that_the_bundle_predicts(service, pristine_bundle, golden_images):
    image = golden_images[1]
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    answer = ask(service, "POST", stream.getvalue(), chunk=100)
    assert (answer.status_code, answer.media_type) == (200, "image/png")
    with Image.open(io.BytesIO(answer.body)) as mask:
        np.testing.assert_array_equal(np.asarray(mask), Bundle.load(pristine_bundle).predict(image))


def test_what_is_no_image_is_refused_and_the_replica_lives(service):
    answer = ask(service, "POST", b"no image")
    assert answer.status_code == 400
    assert b"not an image" in answer.body
    assert b"classes: background, scratch" in ask(service, "GET").body


def test_a_request_that_is_too_long_is_not_read_to_its_end(service, monkeypatch):
    from automl.distributed import serving

    monkeypatch.setattr(serving, "LONGEST_BYTES", 1000)
    assert ask(service, "POST", b"x" * 5000, chunk=600).status_code == 413


def test_a_replica_does_not_start_with_a_damaged_bundle(bundle):
    from automl.distributed.serving import MaskService

    (bundle / "model.onnx").write_bytes(b"no network")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        MaskService(str(bundle), threads=1)


@pytest.mark.parametrize("words", [{}, {"bundel": "x"}, {"bundle": "x", "gpu": "1"}])
def test_words_that_mean_nothing_are_told(words):
    from automl.distributed.serving import application

    with pytest.raises(UsageError, match="allowed: bundle=FOLDER"):
        application(words)
