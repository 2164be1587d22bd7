"""The client of an agent: another device measures. Needs no torch."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import ValidationError

from automl.benchmark.channel import Channel, greet_agent
from automl.benchmark.device import Device
from automl.benchmark.frames import Limits
from automl.benchmark.job import Artifacts, Job, Outcome
from automl.benchmark.secret import Token
from automl.errors import UsageError
from automl.records import from_json, to_json

_ANSWER = Limits(head=64 << 20, body=0)
_CONNECT_S = 10.0
_TRANSFER_S = 120.0


class AbsentError(UsageError):
    """Nothing answers, or it went away while it was at work; it may come back."""


class BusyError(UsageError):
    """The agent is at work for another client; it takes one job at a time."""


class JobError(UsageError):
    """The agent took the job and could not do it; the next one may be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """An agent at `host`:`port`.

    Every fault of it and of the way there is a UsageError; `AbsentError`, `BusyError` and
    `JobError` are those after which it makes sense to go on.
    """

    host: str
    port: int
    token: Token

    @classmethod
    def at(cls, target: str, token: Token) -> Self:
        """The agent at `tcp://HOST:PORT`."""
        try:
            parts = urlsplit(target)
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        plain = not (parts.path or parts.query or parts.fragment or parts.username)
        if parts.scheme != "tcp" or not host or not port or not plain:
            raise UsageError(f"target: must be tcp://HOST:PORT, got {target!r}")
        return cls(host=host, port=port, token=token)

    def device(self) -> Device:
        """What it is."""
        with self._connected() as channel:
            channel.send({"device": True}, seconds=_CONNECT_S)
            return from_json(Device, _received(channel, _CONNECT_S)["device"])

    def measure(self, job: Job, artifacts: Artifacts) -> Outcome:
        """Have a job timed there."""
        with self._connected() as channel:
            channel.send({"job": to_json(job)}, seconds=_CONNECT_S)
            reply = _received(channel, _TRANSFER_S)
            while "send" in reply:
                self._send_artifact(channel, artifacts[reply["send"]], reply["at_most"])
                reply = _received(channel, reply["seconds"] + _TRANSFER_S)
            return from_json(Outcome, reply["outcome"])

    @staticmethod
    def _send_artifact(channel: Channel, content: bytes, at_most: int) -> None:
        if len(content) > at_most:
            raise JobError(
                f"an artifact has {len(content) / 1e6:.1f} MB, and this agent takes "
                f"{at_most / 1e6:.1f} MB more: raise its --max-mb, or measure fewer at a time"
            )
        channel.send({}, content, seconds=_TRANSFER_S)

    @contextmanager
    def _connected(self) -> Iterator[Channel]:
        where = f"tcp://{self.host}:{self.port}"
        try:
            with socket.create_connection((self.host, self.port), timeout=_CONNECT_S) as connection:
                channel = Channel(connection, role="client")
                greet_agent(channel, self.token)
                yield channel
        except UsageError as error:
            raise type(error)(f"{where}: {error}") from error
        except OSError as error:
            raise AbsentError(f"{where}: {error}; is an agent at work there?") from error
        except (ValidationError, KeyError, TypeError) as error:
            raise UsageError(f"{where}: the agent's answer is not understood: {error}") from error


def _received(channel: Channel, seconds: float) -> dict[str, Any]:
    head = channel.receive(_ANSWER, seconds=seconds).head
    if "error" in head:
        raise (BusyError if head.get("busy") is True else JobError)(str(head["error"]))
    return head
