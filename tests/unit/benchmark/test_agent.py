"""A real agent on the loopback: what it does, and what it refuses."""

import signal
import socket
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from automl.benchmark.channel import PROTOCOL, Channel, greet_agent
from automl.benchmark.frames import Frame, Limits, pack
from automl.benchmark.job import Entry, Job, digest
from automl.benchmark.remote import AbsentError, BusyError, JobError, Remote
from automl.benchmark.secret import Token, read_token
from automl.errors import UsageError
from automl.records import to_json

LIMITS = Limits(head=1 << 20, body=0)
SHAPE = (32, 48, 3)


def remote(agent, token_file):
    return Remote.at(agent.url, read_token(token_file))


def job_of(content, *, rounds=3):
    entry = Entry(label="model", artifact=digest(content), runtime="onnxruntime", shape=SHAPE)
    return Job(entries=(entry,), threads=1, rounds=rounds)


def is_alive(agent, token_file):
    return remote(agent, token_file).device().cores >= 1


def children_of(pid):
    """The processes that any thread of a process started."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # the thread ended
            found += map(int, (task / "children").read_text().split())
    return found


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def greeted(agent, token_file):
    """A connection whose handshake is done."""
    with socket.create_connection(agent.address, timeout=10) as connection:
        channel = Channel(connection, role="client")
        greet_agent(channel, read_token(token_file))
        yield channel


def error_of(channel):
    return channel.receive(LIMITS, seconds=20).head["error"]


def test_a_job_is_timed_there_and_the_device_told(agent, token_file, artifact):
    content = artifact.read_bytes()
    outcome = remote(agent, token_file).measure(job_of(content), {digest(content): content})
    (timing,) = outcome.timings
    assert 0 < timing.stats.p50_ms <= timing.stats.p95_ms <= timing.stats.p99_ms
    assert timing.agreement == 1.0
    assert outcome.device == remote(agent, token_file).device()
    assert outcome.device.cpu
    assert "onnxruntime" in outcome.device.runtimes


def test_a_wrong_token_is_refused_and_says_so(agent, token_file):
    stranger = Remote.at(agent.url, Token(b"another secret, long enough"))
    with pytest.raises(UsageError, match=f"{agent.url}: wrong token"):
        stranger.device()
    assert is_alive(agent, token_file)


def test_the_token_never_crosses_the_wire(agent, token_file, artifact):
    token, content = read_token(token_file), artifact.read_bytes()
    relayed = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as relay:
        thread = threading.Thread(target=relay_one, args=[relay, agent.address, relayed])
        thread.start()
        url = f"tcp://127.0.0.1:{relay.getsockname()[1]}"
        Remote.at(url, token).measure(job_of(content), {digest(content): content})
        thread.join(timeout=20)
    assert content in relayed
    assert token.key not in relayed


def relay_one(relay, address, seen):
    near, _ = relay.accept()
    with near, socket.create_connection(address) as far:
        back = threading.Thread(target=copy, args=[far, near, seen])
        back.start()
        copy(near, far, seen)
        back.join()


def copy(source, destination, seen):
    while part := source.recv(65536):
        seen.extend(part)
        destination.sendall(part)
    destination.shutdown(socket.SHUT_WR)


def test_an_agent_that_does_not_know_the_token_is_found_out(token_file):
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=pretend, args=[server])
        thread.start()
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UsageError, match="the agent does not know the token"):
            Remote.at(url, read_token(token_file)).device()
        thread.join(timeout=20)


def pretend(server):
    connection, _ = server.accept()
    with connection:
        channel = Channel(connection, role="agent")
        channel.send({"protocol": PROTOCOL, "nonce": "0" * 64}, seconds=10)
        channel.receive(LIMITS, seconds=10)
        channel.send({"proof": "0" * 64}, seconds=10)


@pytest.mark.parametrize("side", ["agent", "client"])
def test_another_protocol_is_refused_by_either_side(agent, token_file, monkeypatch, side):
    if side == "client":
        monkeypatch.setattr("automl.benchmark.channel.PROTOCOL", PROTOCOL + 1)
        with pytest.raises(UsageError, match=r"protocol 2, this program 3.*the same version"):
            remote(agent, token_file).device()
        return
    with socket.create_connection(agent.address, timeout=10) as connection:
        channel = Channel(connection, role="client")
        channel.receive(LIMITS, seconds=10)
        channel.send({"protocol": 99, "nonce": "", "proof": ""}, seconds=10)
        assert "the agent speaks protocol 2, the client 99" in error_of(channel)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"GET / HTTP/1.1\r\nHost: device\r\n\r\n", "not a message of automl"),
        (struct.pack(">4sIQ", b"AMB1", 1 << 31, 0), "head may have 4096 bytes here"),
        (struct.pack(">4sIQ", b"AMB1", 2, 1 << 40), "body may have 0 bytes here"),
    ],
)
def test_garbage_and_oversized_messages_of_strangers_are_refused(agent, token_file, content, told):
    with socket.create_connection(agent.address, timeout=10) as connection:
        channel = Channel(connection, role="client")
        channel.receive(LIMITS, seconds=10)
        connection.sendall(content)
        assert told in error_of(channel)
    assert is_alive(agent, token_file)


def test_an_artifact_over_the_limit_is_refused_by_both_ends(start_agent, token_file):
    agent = start_agent("--max-mb", "1")
    content = bytes(2 << 20)
    with pytest.raises(UsageError, match=r"has 2\.1 MB.*raise its --max-mb"):
        remote(agent, token_file).measure(job_of(content), {digest(content): content})
    with socket.create_connection(agent.address, timeout=10) as connection:
        channel = Channel(connection, role="client")
        greet_agent(channel, read_token(token_file))
        channel.send({"job": to_json(job_of(content))}, seconds=10)
        assert channel.receive(LIMITS, seconds=10).head["at_most"] == 1 << 20
        connection.sendall(pack(Frame({}, content))[:100])
        assert "body may have 1048576 bytes here, got 2097152" in error_of(channel)


def test_an_artifact_that_is_not_the_one_announced_is_refused(greeted, artifact):
    greeted.send({"job": to_json(job_of(artifact.read_bytes()))}, seconds=10)
    greeted.receive(LIMITS, seconds=10)
    greeted.send({}, b"something else", seconds=10)
    assert "its SHA-256 is" in error_of(greeted)


def test_a_message_that_was_changed_on_its_way_is_refused(greeted):
    greeted.secure(b"not the key")
    greeted.send({"device": True}, seconds=10)
    with pytest.raises(UsageError, match="changed on its way"):
        greeted.receive(LIMITS, seconds=10)


@pytest.mark.parametrize("plain", [None, {}, {"entries": [], "threads": 1, "rounds": 1}])
def test_what_is_no_job_is_refused(greeted, plain):
    greeted.send({"job": plain}, seconds=10)
    assert "not a job" in error_of(greeted)


def test_what_is_no_model_is_told_with_its_name(agent, token_file):
    content = b"no model"
    with pytest.raises(UsageError, match="model: this model: ONNX Runtime cannot open it"):
        remote(agent, token_file).measure(job_of(content), {digest(content): content})


def test_a_job_that_takes_too_long_is_ended(start_agent, token_file, artifact):
    agent, content = start_agent("--job-seconds", "1"), artifact.read_bytes()
    with pytest.raises(JobError, match="longer than the 1 s that are allowed"):
        remote(agent, token_file).measure(
            job_of(content, rounds=100_000), {digest(content): content}
        )
    until(lambda: not children_of(agent.process.pid))


def started_job(agent, token_file, content):
    """A thread in which a client waits for a job without end, and what it will have been told."""
    told = []

    def ask():
        try:
            remote(agent, token_file).measure(
                job_of(content, rounds=100_000), {digest(content): content}
            )
        except UsageError as error:
            told.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: children_of(agent.process.pid))
    return thread, told


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux' /proc")
class TestAtWork:
    def test_a_second_client_is_told_to_wait(self, start_agent, token_file, artifact):
        agent, content = start_agent("--job-seconds", "5"), artifact.read_bytes()
        thread, told = started_job(agent, token_file, content)
        with pytest.raises(BusyError, match="at work for another client"):
            remote(agent, token_file).measure(job_of(content), {digest(content): content})
        thread.join(timeout=30)
        assert "longer than" in told[0]

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_an_agent_that_is_killed_leaves_no_process_and_the_client_is_told(
        self, agent, token_file, artifact, number
    ):
        thread, told = started_job(agent, token_file, artifact.read_bytes())
        (worker,) = children_of(agent.process.pid)
        agent.process.send_signal(number)
        thread.join(timeout=30)
        assert not thread.is_alive()
        assert told[0].startswith(f"{agent.url}: ")
        until(lambda: not cmdline(worker))

    def test_a_client_that_goes_away_ends_its_job(self, agent, token_file, artifact):
        content = artifact.read_bytes()
        with socket.create_connection(agent.address, timeout=10) as connection:
            channel = Channel(connection, role="client")
            greet_agent(channel, read_token(token_file))
            channel.send({"job": to_json(job_of(content, rounds=100_000))}, seconds=10)
            channel.receive(LIMITS, seconds=10)
            channel.send({}, content, seconds=10)
            until(lambda: children_of(agent.process.pid))
        until(lambda: not children_of(agent.process.pid))
        outcome = remote(agent, token_file).measure(job_of(content), {digest(content): content})
        assert outcome.timings


def cmdline(pid):
    """Empty for a process that ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


@pytest.mark.parametrize(
    "target", ["device:5000", "tcp://device", "http://device:80", "tcp://a:70000", "tcp://a:1/b"]
)
def test_a_target_that_is_none_is_refused(target):
    with pytest.raises(UsageError, match="must be tcp://HOST:PORT"):
        Remote.at(target, Token(b"0" * 16))


def test_where_no_agent_is_the_client_says_so(token_file):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(AbsentError, match="is an agent at work there"):
        Remote.at(f"tcp://127.0.0.1:{port}", read_token(token_file)).device()
