"""The agent: times artifacts on the device that will serve them, one job at a time. Needs no torch.

A client that has proved that it knows the token asks either for the device, or for a job with its
artifacts. Artifacts stay in memory and go to the measuring process through a pipe: no file is
written. A client that goes away, or a job that takes too long, ends the measuring process.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError

from automl.benchmark.channel import Channel, RefusedError, greet_client
from automl.benchmark.device import this_device
from automl.benchmark.frames import Frame, Limits
from automl.benchmark.job import Job, Outcome, digest
from automl.benchmark.secret import Token
from automl.benchmark.worker import measure_apart
from automl.errors import UsageError
from automl.records import from_json, to_json

_HEAD = 1 << 20
_TRANSFER_S = 120.0
_REPLY_S = 10.0
_MAX_CONNECTIONS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """What an agent allows: bytes of all artifacts of a job together, and seconds a job."""

    max_bytes: int = 512 << 20
    job_seconds: float = 600.0


class Agent(socketserver.ThreadingTCPServer):
    """Serves clients on `address`, (host, port) with 0 for any free port, until shut down."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        token: Token,
        settings: AgentSettings,
        say: Callable[[str], None],
    ) -> None:
        self.token, self.settings, self.say = token, settings, say
        self.at_work = threading.Lock()
        self.room = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Conversation)

    @property
    def url(self) -> str:
        """Where clients find it."""
        host, port = self.server_address[:2]
        named = f"[{host!s}]" if self.address_family == socket.AF_INET6 else str(host)
        return f"tcp://{named}:{port}"


class _AtWorkError(RefusedError):
    """One job at a time; told so that a client can wait for its turn."""


class _Conversation(socketserver.BaseRequestHandler):
    """One client, from the handshake to the answer."""

    def handle(self) -> None:
        agent = cast("Agent", self.server)
        if not agent.room.acquire(blocking=False):
            return
        channel = Channel(self.request, role="agent")
        try:
            greet_client(channel, agent.token)
            _answer(channel, agent)
        except _AtWorkError as error:
            self._refuse(channel, agent, {"error": str(error), "busy": True})
        except UsageError as error:
            self._refuse(channel, agent, {"error": str(error)})
        except (OSError, RecursionError) as error:
            agent.say(f"{self._who()}: {error}")
        finally:
            agent.room.release()

    def _who(self) -> str:
        return str(self.client_address[0])

    def _refuse(self, channel: Channel, agent: Agent, reply: Mapping[str, Any]) -> None:
        agent.say(f"{self._who()}: refused: {reply['error']}")
        try:
            channel.send(dict(reply), seconds=_REPLY_S)
        except OSError:
            return  # it went away


def _answer(channel: Channel, agent: Agent) -> None:
    frame = channel.receive(Limits(head=_HEAD, body=0), seconds=_REPLY_S)
    if "device" in frame.head:
        channel.send({"device": to_json(this_device())}, seconds=_REPLY_S)
        return
    if not agent.at_work.acquire(blocking=False):
        raise _AtWorkError("the agent is at work for another client: try again later")
    try:
        outcome = _do(channel, frame, agent)
    finally:
        agent.at_work.release()
    channel.send({"outcome": to_json(outcome)}, seconds=_REPLY_S)


def _do(channel: Channel, frame: Frame, agent: Agent) -> Outcome:
    job = _job(frame)
    artifacts = _receive_artifacts(channel, job, agent.settings)
    agent.say(
        f"{len(job.entries)} entries, {job.threads} threads, {job.rounds} rounds, "
        f"{sum(map(len, artifacts.values())) / 1e6:.1f} MB"
    )
    outcome = measure_apart(
        job,
        artifacts,
        seconds=agent.settings.job_seconds,
        wanted=lambda: not channel.closed(),
    )
    agent.say("done")
    return outcome


def _job(frame: Frame) -> Job:
    try:
        return from_json(Job, frame.head.get("job"))
    except ValidationError as error:
        raise UsageError(f"not a job: {error.errors(include_url=False)[0]['msg']}") from error


def _receive_artifacts(channel: Channel, job: Job, settings: AgentSettings) -> dict[str, bytes]:
    """The artifacts of a job, each checked against the SHA-256 that it is known by."""
    artifacts: dict[str, bytes] = {}
    left = settings.max_bytes
    for name in dict.fromkeys(entry.artifact for entry in job.entries):
        wish = {"send": name, "at_most": left, "seconds": settings.job_seconds}
        channel.send(wish, seconds=_REPLY_S)
        content = channel.receive(Limits(head=_HEAD, body=left), seconds=_TRANSFER_S).body
        if digest(content) != name:
            raise UsageError(f"artifact {name[:12]}: its SHA-256 is {digest(content)[:12]}")
        artifacts[name] = content
        left -= len(content)
    return artifacts
