"""Searches whose study is at home in a bucket, against a server that speaks as S3 does."""

import http.client
import io
import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

from automl.storage.journal_copy import stored_journal
from automl.storage.location import opened
from automl.storage.manifest import OWN
from automl.store.journal import parse_journal

pytestmark = pytest.mark.slow

PROBE = "127.0.0.2"


def on_ray(test):
    """Marks a test that starts a cluster."""
    for warnings in ("ignore:.*:DeprecationWarning:ray", "ignore:.*:ResourceWarning"):
        test = pytest.mark.filterwarnings(warnings)(test)
    return pytest.mark.ray(test)


#: No students and no INT8: what is proven here is where files go.
SHORT = {
    "students: [{pruning_ratio: 0.3}]": "students: []",
    "int8: {max_drop: 1, max_class_drop: 1}": "int8: false",
    "batch_size: 16": "batch_size: 2",
}


@pytest.fixture
def environment(environment, aws) -> dict[str, str]:
    """That of all tests with credentials, for this test alone."""
    return {**environment, **aws}


@pytest.fixture
def search(bucket, tiny_space, tiny_dataset) -> list[str]:
    """The words of a short search, data and study in a bucket; the last is the study's URL."""
    text = tiny_space.read_text()
    for long, short in SHORT.items():
        text = text.replace(long, short)
    tiny_space.write_text(text)
    store = opened(f"{bucket}/data/tiny")
    for path in tiny_dataset.rglob("*"):
        if path.is_file():
            store.put_file(path.relative_to(tiny_dataset).as_posix(), path)
    words = ["search", "--space", str(tiny_space), "--data", f"{bucket}/data/tiny", "--trials", "2"]
    return [*words, "--out", f"{bucket}/studies/tiny"]


#: What says how a body is sent, and its checksum, which a body that is cut short has not.
OF_CHUNKS = (
    "x-amz-checksum",
    "x-amz-content-sha256",
    "x-amz-decoded",
    "x-amz-trailer",
    "content-encoding",
    "content-length",
    "content-md5",
    "expect",
    "transfer-encoding",
)
HOP_BY_HOP = {"transfer-encoding", "connection", "date", "server", "content-length"}


class Faults:
    """Between the program and the server: loses, cuts and shortens every so-many-th request."""

    def __init__(self, server: str) -> None:
        self.server = urlsplit(server).netloc
        self.count = itertools.count(1)
        self.told: dict[str, int] = {}

    def next(self) -> str | None:
        """What becomes of the next request."""
        number = next(self.count)
        names = {9: "503", 11: "lost", 13: "unanswered", 17: "half"}
        name = next((name for every, name in names.items() if number % every == 0), None)
        if name is not None:
            self.told[name] = self.told.get(name, 0) + 1
        return name


def chunks(stream) -> Iterator[bytes]:
    """The pieces of a body, each with its length before it; the last one is empty."""
    while length := int(stream.readline().partition(b";")[0], 16):
        yield stream.read(length)
        stream.readline()


class Proxy(BaseHTTPRequestHandler):
    """Passes requests on, but for faults."""

    faults: Faults
    protocol_version = "HTTP/1.1"

    def _pass(self) -> None:
        body = self._body()
        fault = self.faults.next()
        if fault == "503":
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault == "lost":
            self.close_connection = True
            return
        if fault == "half" and self.command == "PUT":
            body = body[: len(body) // 2]
        answer, content = self._asked(body)
        if fault == "unanswered":
            self.close_connection = True
        else:
            self._answer(answer, content)

    def _answer(self, answer: http.client.HTTPResponse, content: bytes) -> None:
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        if self.command != "HEAD":  # whose length is that of a body which is not sent
            self.send_header("Content-Length", str(len(content)))
        elif (length := answer.getheader("Content-Length")) is not None:
            self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        """What is sent: in chunks of HTTP, which are in chunks of Amazon's with a checksum."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        sent = b"".join(chunks(self.rfile))
        while self.rfile.readline().strip():
            pass
        if self.headers.get("Content-Encoding") == "aws-chunked":
            return b"".join(chunks(io.BytesIO(sent)))
        return sent

    def _asked(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(self.faults.server)
        kept = {
            name: value
            for name, value in self.headers.items()
            if not name.lower().startswith(OF_CHUNKS)
        }
        kept["Content-Length"] = str(len(body))
        connection.request(self.command, self.path, body, kept)
        answer = connection.getresponse()
        return answer, answer.read()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def faults(s3_server) -> Iterator[tuple[str, Faults]]:
    """The address of a server behind faults, and what becomes of requests."""
    found = Faults(s3_server)
    handler = type("Handler", (Proxy,), {"faults": found})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", found
        server.shutdown()


def epochs(url: str) -> list[tuple[str, int]]:
    """Each epoch in the journal of a study, with its trial."""
    return [
        (event["trial_id"], event["message"]["epoch"])
        for event in parse_journal(url, stored_journal(opened(url)))
        if event["kind"] == "message" and event["message"]["kind"] == "epoch"
    ]


def wait_for(happened, process) -> None:
    deadline = time.monotonic() + 200
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_search_goes_on_on_another_machine_while_the_store_fails(
    search, faults, environment, start_cli, cli, tmp_path
):
    out = search[-1]
    address, told = faults
    environment.update(AWS_ENDPOINT_URL_S3=address, AUTOML_CACHE=str(tmp_path / "first"))
    first = start_cli(*search, "--local")
    wait_for(lambda: epochs(out), first)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    known = epochs(out)
    environment["AUTOML_CACHE"] = str(tmp_path / "second")
    done = cli(*search, "--local")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(told.told) == {"503", "lost", "unanswered", "half"}
    every = epochs(out)
    assert every[: len(known)] == known
    assert len(every) == len(set(every)) > len(known)

    (here,) = (tmp_path / "second" / "studies").glob("*/tiny")
    stored = {e.key for e in opened(out).entries("") if not e.key.startswith(OWN)}
    local = {p.relative_to(here).as_posix() for p in here.rglob("*") if p.is_file()}
    ended_before = {key for key in stored if key.startswith("trials/")}
    assert local - stored == {"journal.lock"}
    assert stored - local <= ended_before, "what was trained before the kill is not fetched in vain"
    verified = cli("bundle", "verify", f"{out}/bundles/best")
    assert "bundles/best: verified" in verified.stdout, verified.stderr


@pytest.fixture
def nodes(environment, free_port, tmp_path, monkeypatch) -> Iterator[Callable[..., Any]]:
    """Start a cluster, or add a node to it, under a name that its cache has as well."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    environment["AUTOML_CACHE"] = str(tmp_path / "driver")
    from automl.distributed import connection

    connection.prepare_environment()
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "dashboard_port": free_port}
    head |= {"env_vars": {"AUTOML_CACHE": str(tmp_path / "head")}}
    cluster = Cluster(initialize_head=True, head_node_args=head)

    def add(name: str, **node: object) -> Any:
        cluster.add_node(env_vars={"AUTOML_CACHE": str(tmp_path / name)}, **node)
        return cluster

    yield add
    cluster.shutdown()


@on_ray
def test_nodes_that_share_no_disk_search_with_a_bucket_alone(search, nodes, cli, tmp_path):
    nodes("one", num_cpus=1)
    done = cli(*search, "--address", nodes("two", num_cpus=1).address)
    assert done.returncode == 0, done.stdout + done.stderr
    caches = {name: tmp_path / name for name in ("driver", "one", "two")}
    assert "Ray on 3 nodes, 2 trials at a time" in done.stdout
    studies = {name: next((c / "studies").glob("*/tiny")) for name, c in caches.items()}
    on_workers = {
        trial.name
        for name in ("one", "two")
        for trial in (studies[name] / "trials").iterdir()
        if (trial / "checkpoint").exists()
    }
    assert on_workers == {trial for trial, _ in epochs(search[-1])}
    assert not (studies["driver"] / "trials").exists(), "the driver has no need of checkpoints"
    for name in ("one", "two"):
        fetched = {path.name for path in (studies[name] / "dataset").iterdir()}
        assert fetched == {"train.arrow", "val.arrow", "test.arrow", "dataset.json"}
    verified = cli("bundle", "verify", f"{search[-1]}/bundles/best")
    assert verified.returncode == 0, verified.stderr


@on_ray
@pytest.mark.exhaustive  # six trainings by groups of two, each of which starts two processes
@pytest.mark.timeout(900)
def test_groups_heirs_students_seeds_and_a_probe_have_but_the_bucket_in_common(
    search, nodes, cli, tmp_path
):
    file = tmp_path / "tiny.yaml"
    text = file.read_text()
    for plain, asked in {
        "train: {epochs: 2}": "train: {epochs: 1, inherit: true, workers: 2, placement: spread}",
        "students: []": "students: [{pruning_ratio: 0.3}]",
        "batch_size: 2": "batch_size: 4",
        "export: {golden_samples: 2}": "export: {golden_samples: 2, finalist_seeds: 1}",
    }.items():
        assert plain in text
        text = text.replace(plain, asked)
    file.write_text(text)
    nodes("one", num_cpus=1)
    nodes("two", num_cpus=1)
    cluster = nodes("probe", num_cpus=0, resources={"latency_probe": 1}, node_ip_address=PROBE)
    done = cli(*search, "--address", cluster.address)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"latency    on the latency_probe node {PROBE}" in done.stdout
    store = opened(search[-1])
    donors = [
        json.loads(store.get_bytes(entry.key))
        for entry in store.entries("trials")
        if entry.key.endswith("/donor.json")
    ]
    assert sum(donor["trial_id"] is not None for donor in donors) == 1, "trial 1 is heir of trial 0"
    assert not (tmp_path / "probe" / "studies").exists(), "files to be timed go through Ray"
    manifest = json.loads(store.get_bytes("bundles/best/bundle.json"))
    assert {seeds["count"] for seeds in manifest["further_seeds"].values()} == {1}
    assert any("student" in entry.key for entry in store.entries("candidates"))
    verified = cli("bundle", "verify", f"{search[-1]}/bundles/best")
    assert verified.returncode == 0, verified.stderr
