"""One connection between a client and an agent: the handshake, then messages with an HMAC each."""

from __future__ import annotations

import hmac
import socket
import time
from typing import Any

from automl.benchmark.frames import Frame, FrameError, Limits, pack, read_frame
from automl.benchmark.secret import MAC_SIZE, Token, message_mac, new_nonce
from automl.errors import UsageError

#: Both ends must speak the same; raised with every change of what is said.
PROTOCOL = 2

#: For the whole handshake.
HANDSHAKE_S = 10.0

#: What is read from an end that has proved nothing yet.
_STRANGER = Limits(head=4096, body=0)
_CHUNK = 1 << 20
_AGENT, _CLIENT = "agent", "client"


class RefusedError(UsageError):
    """The other end does not take part; the message is for people."""


class Channel:
    """Sends and receives messages over a connected socket, each within a time."""

    def __init__(self, connection: socket.socket, *, role: str) -> None:
        self._socket = connection
        self._sends, self._receives = (role, _CLIENT if role == _AGENT else _AGENT)
        self._key = b""
        self._sent = self._received = 0

    def secure(self, key: bytes) -> None:
        """From now on messages carry an HMAC under this key."""
        self._key = key

    def send(self, head: dict[str, Any], body: bytes = b"", *, seconds: float) -> None:
        """Send one message; raises OSError."""
        content = pack(Frame(head, body))
        if self._key:
            content += message_mac(self._key, self._sends, self._sent, content)
            self._sent += 1
        self._socket.settimeout(seconds)
        self._socket.sendall(content)

    def receive(self, limits: Limits, *, seconds: float) -> Frame:
        """The next message, whole within so many seconds; raises FrameError or OSError."""
        end = time.monotonic() + seconds
        frame, content = read_frame(lambda size: self._exactly(size, end), limits)
        if self._key:
            mac = self._exactly(MAC_SIZE, end)
            expected = message_mac(self._key, self._receives, self._received, content)
            if not hmac.compare_digest(mac, expected):
                raise FrameError("a message was changed on its way")
            self._received += 1
        return frame

    def closed(self) -> bool:
        """Whether the other end went away, while nothing is expected from it."""
        try:
            self._socket.setblocking(False)  # noqa: FBT003
            return self._socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _exactly(self, size: int, end: float) -> bytes:
        parts, missing = [], size
        while missing:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("no answer in time")
            self._socket.settimeout(left)
            part = self._socket.recv(min(missing, _CHUNK))
            if not part:
                raise ConnectionError("the connection was closed")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


def greet_client(channel: Channel, token: Token) -> None:
    """The agent's side of the handshake; raises RefusedError, told to the client, or OSError."""
    nonce = new_nonce()
    channel.send({"protocol": PROTOCOL, "nonce": nonce}, seconds=HANDSHAKE_S)
    reply = channel.receive(_STRANGER, seconds=HANDSHAKE_S).head
    if reply.get("protocol") != PROTOCOL:
        raise RefusedError(
            f"the agent speaks protocol {PROTOCOL}, the client {reply.get('protocol')!r}: "
            "install the same version of automl on both ends"
        )
    nonces = f"{nonce} {reply.get('nonce')}"
    if not token.accepts(reply.get("proof"), _CLIENT, nonces):
        raise RefusedError("wrong token: the token files of both ends must hold the same")
    channel.send({"proof": token.proof(_AGENT, nonces)}, seconds=HANDSHAKE_S)
    channel.secure(token.session_key(nonces))


def greet_agent(channel: Channel, token: Token) -> None:
    """The client's side of the handshake; raises RefusedError, FrameError or OSError."""
    hello = _told(channel)
    if hello.get("protocol") != PROTOCOL:
        raise RefusedError(
            f"the agent speaks protocol {hello.get('protocol')!r}, this program {PROTOCOL}: "
            "install the same version of automl on both ends"
        )
    own = new_nonce()
    nonces = f"{hello.get('nonce')} {own}"
    channel.send(
        {"protocol": PROTOCOL, "nonce": own, "proof": token.proof(_CLIENT, nonces)},
        seconds=HANDSHAKE_S,
    )
    if not token.accepts(_told(channel).get("proof"), _AGENT, nonces):
        raise RefusedError("the agent does not know the token: it may be another program")
    channel.secure(token.session_key(nonces))


def _told(channel: Channel) -> dict[str, Any]:
    head = channel.receive(_STRANGER, seconds=HANDSHAKE_S).head
    if "error" in head:
        raise RefusedError(str(head["error"]))
    return head
