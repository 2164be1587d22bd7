"""The door to pyarrow's file systems, against a server that speaks as S3 does, and on a folder."""

import contextlib
import socket
import threading

import pytest

from automl.errors import UsageError
from automl.storage.arrow_objects import connect
from automl.storage.location import checked_url, is_url, opened, reachable
from automl.storage.objects import NoObjectError, RefusedError, TransientError


@pytest.fixture(params=["s3", "file"])
def objects(request, tmp_path):
    if request.param == "file":
        return connect(f"file://{tmp_path}/objects")
    return connect(f"{request.getfixturevalue('bucket')}/{tmp_path.name}")


def test_objects_are_written_read_listed_and_removed(objects):
    assert objects.entries("") == []
    objects.write("a/b.bin", iter([b"one", b"two"]))
    objects.write("a/c/d", iter([]))
    objects.write("ab", iter([b"x"]))
    assert b"".join(objects.read("a/b.bin")) == b"onetwo"
    assert objects.state("a/b.bin").size == 6
    assert [(e.key, e.size) for e in objects.entries("a")] == [("a/b.bin", 6), ("a/c/d", 0)]
    assert [e.key for e in objects.entries("")] == ["a/b.bin", "a/c/d", "ab"]
    assert objects.entries("")[0].changed_s > 1e9
    assert objects.entries("none") == []
    objects.write("a/b.bin", iter([b"three"]))
    assert b"".join(objects.read("a/b.bin")) == b"three"
    objects.delete("a/b.bin")
    objects.delete("a/b.bin")
    assert [e.key for e in objects.entries("a")] == ["a/c/d"]


@pytest.mark.parametrize("ask", ["state", "read"])
def test_what_is_not_there_is_told_apart(objects, ask):
    objects.write("k", iter([b"x"]))
    with pytest.raises(NoObjectError):
        list([getattr(objects, ask)("none")] if ask == "state" else objects.read("none"))


def test_s3_tells_the_checksum_of_a_small_object(bucket):
    objects = connect(f"{bucket}/sums")
    objects.write("k", iter([b"hello"]))
    assert objects.state("k").md5 == "5d41402abc4b2a76b9719d911017c592"


def test_a_large_object_goes_in_parts_and_comes_back_whole(bucket, tmp_path):
    store = opened(f"{bucket}/large")
    (tmp_path / "here").write_bytes(bytes(range(256)) * 90_000)  # 23 MB
    store.put_file("k", tmp_path / "here")
    assert b"".join(store.objects.read("k")) == (tmp_path / "here").read_bytes()


def test_a_bucket_that_is_not_there_is_the_users_to_mend(bucket):
    objects = connect("s3://no-such-bucket/study")
    with pytest.raises(RefusedError, match="NO_SUCH_BUCKET"):
        objects.entries("")
    with pytest.raises(RefusedError, match="NO_SUCH_BUCKET"):
        objects.write("k", iter([b"x"]))
    with pytest.raises(UsageError, match=r"(?s)--out: s3://no-such-bucket/study: cannot list.*AWS"):
        reachable("s3://no-such-bucket/study", "--out")


def answer_with(reply: bytes | None) -> int:
    """A port of this machine on which a server gives this reply, or none, to whoever asks."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            connection, _ = server.accept()
            connection.recv(65536)
            if reply is not None:
                connection.sendall(reply)
                connection.close()

    threading.Thread(target=serve, daemon=True).start()
    return server.getsockname()[1]


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
        b"",
    ],
    ids=["503", "500", "cut"],
)
def test_what_another_attempt_may_mend(aws, monkeypatch, reply):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{answer_with(reply)}")
    objects = connect("s3://bucket/study")
    with pytest.raises(TransientError):
        objects.entries("")
    with pytest.raises(TransientError):
        objects.write("k", iter([b"x"]))


def test_wrong_credentials_are_refused(aws, monkeypatch):
    body = b"<Error><Code>InvalidAccessKeyId</Code><Message>no such key</Message></Error>"
    head = f"HTTP/1.1 403 Forbidden\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{answer_with(head + body)}")
    with pytest.raises(RefusedError):
        connect("s3://bucket/study").entries("")


@pytest.mark.parametrize(
    "text",
    ["s3://bucket", "s3://bucket/", "s3:///study", "http://b/s", "s3://b/s?x=1", "abfs://b/s"],
)
def test_urls_that_name_no_place(text):
    assert is_url(text)
    with pytest.raises(UsageError, match=r"--out: given .*; allowed: s3://bucket/prefix"):
        checked_url(text, "--out")


def test_urls_and_paths():
    assert checked_url("s3://bucket/a/b/", "--out") == "s3://bucket/a/b"
    assert not is_url("results/study")
    assert not is_url("builtin:surface-defects")


def test_the_check_before_work_does_not_wait_for_ever(aws, monkeypatch):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")  # nobody listens
    monkeypatch.setenv("AUTOML_STORAGE_PATIENCE_S", "1")
    with pytest.raises(UsageError, match=r"after \d+ attempts"):
        reachable("s3://bucket/study", "--data")
