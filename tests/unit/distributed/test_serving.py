"""A real server on the loopback, driven as a user would."""

import base64
import contextlib
import http.client
import io
import json
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from automl.bundle.loading import Bundle
from automl.bundle.packing import pack_bundle
from automl.bundle.service import Limits
from automl.distributed import serving
from automl.distributed.serving import ServeSettings, served
from automl.errors import UsageError

TOKEN = "a-token-of-many-characters"
RANDOM = np.random.default_rng(9)


@pytest.fixture
def environment(environment) -> dict[str, str]:
    """That of users, who say nothing of how nice Ray's workers are."""
    kept = {name: value for name, value in environment.items() if name != "RAY_worker_niceness"}
    return {**kept, "PYTHONFAULTHANDLER": "1"}


def png(image_hwc):
    buffer = io.BytesIO()
    Image.fromarray(image_hwc).save(buffer, "PNG")
    return buffer.getvalue()


def noise(height, width):
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


class Client:
    def __init__(self, port):
        self.port = port

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            sent = {"Authorization": f"Bearer {TOKEN}", **headers}
            chunked = not isinstance(body, bytes | None)
            connection.request(method, path, body, sent, encode_chunked=chunked)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def mask(self, image_hwc):
        status, content = self.ask("POST", "/predict", png(image_hwc))
        assert status == 200, content
        with Image.open(io.BytesIO(content)) as mask:
            return np.asarray(mask)


def check_masks(client, alone):
    sizes = [(1, 1), (3, 1001), (100, 130), (32, 48), (32, 48)] * 4
    images = [noise(*size) for size in sizes]
    with ThreadPoolExecutor(20) as pool:
        masks = list(pool.map(client.mask, images))
    for image, mask in zip(images, masks, strict=True):
        np.testing.assert_array_equal(mask, alone.predict(image))


def check_json(client, alone):
    image = noise(100, 130)
    status, content = client.ask("POST", "/predict?format=json", png(image))
    plain = json.loads(content)
    assert (status, plain["width"], plain["height"]) == (200, 130, 100)
    with Image.open(io.BytesIO(base64.b64decode(plain["mask_png"]))) as mask:
        np.testing.assert_array_equal(np.asarray(mask), alone.predict(image))


def check_refusals(client):
    assert client.ask("POST", "/predict", b"x", Authorization="")[0] == 401
    assert client.ask("GET", "/predict")[0] == 405
    for expected, path, body in [
        (415, "/predict", b"no image"),
        (415, "/predict", png(noise(100, 130))[:200]),
        (400, "/predict", b""),
        (413, "/predict", b"x" * 2_000_000),
        (413, "/predict", iter([b"x" * 300_000] * 5)),
        (413, "/predict", png(noise(200, 101))),
        (400, "/predict?format=gif", png(noise(3, 3))),
        (404, "/other", b"x"),
    ]:
        # The server may answer and hang up before all of a content too large was sent.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            status, content = client.ask("POST", path, body)
            assert (status, "error" in json.loads(content)) == (expected, True)


def check_replica_waits_for_nobody():
    words = ["ps", "-C", "ray::ServeReplica", "-o", "ni="]
    found = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    assert found
    assert set(found) == {"0"}


@contextlib.contextmanager
def interrupts_ignored():
    """What is started here ignores Ctrl-C at first, as all that a script starts behind itself."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.ray
def test_a_server_answers_refuses_counts_and_ends(bundle, start_cli, free_port, tmp_path):
    token, packed, port = tmp_path / "token", tmp_path / "b.automl.zip", free_port
    token.write_text(TOKEN)
    token.chmod(0o600)
    pack_bundle(bundle, packed)
    words = ["--port", port, "--batch", 4, "--token-file", token, "--max-mb", 1]
    with interrupts_ignored():
        process = start_cli("serve", packed, *words, "--max-pixels", 20_000)
    line = process.stdout.readline()
    assert line == f"serve: 0003-abcdef12-int8 on http://127.0.0.1:{port}\n"
    client, alone = Client(port), Bundle.load(bundle)

    assert client.ask("GET", "/health", Authorization="")[0] == 200
    check_masks(client, alone)
    check_json(client, alone)
    check_refusals(client)
    check_replica_waits_for_nobody()
    counted = client.ask("GET", "/metrics")[1].decode()
    assert 'automl_requests_total{status="200"} 21.0' in counted
    assert 'automl_requests_total{status="415"} 2.0' in counted
    assert "automl_batch_images_total 21.0" in counted

    process.send_signal(signal.SIGINT)
    try:
        rest, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # says where each thread is
        rest, _ = process.communicate(timeout=60)
    assert (rest, process.returncode) == ("serve: ended\n", 0), rest


def test_a_port_that_is_taken_is_told_before_ray_starts(bundle):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = ServeSettings(
            bundle=bundle,
            host="127.0.0.1",
            port=taken.getsockname()[1],
            limits=Limits(max_bytes=1, max_pixels=1),
            threads=1,
            batch=1,
            max_waiting=1,
        )
        assert settings.url == f"http://127.0.0.1:{settings.port}"
        with pytest.raises(UsageError, match="cannot listen on 127"), served(settings):
            pass


def test_a_server_ends_though_ray_serve_does_not_answer(monkeypatch):
    monkeypatch.setattr(serving, "_GRACE_S", 0.01)
    monkeypatch.setattr(serving, "_MARGIN_S", 0.01)
    asked, never = threading.Event(), threading.Event()
    serving._end(lambda: asked.set() or never.wait(60))
    assert asked.is_set()
    assert not never.is_set()
    never.set()


def test_a_server_waits_for_what_is_being_answered():
    answered = []
    serving._end(lambda: time.sleep(0.05) or answered.append(1))
    assert answered == [1]
