"""Messages as bytes: a JSON object and a body of plain bytes, with limits checked before reading.

    "AMB1" | length of the JSON, 4 bytes | length of the body, 8 bytes | JSON in UTF-8 | body

Numbers are unsigned, high byte first. Nothing is ever unpickled or evaluated.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from automl.errors import UsageError

#: Gives exactly so many bytes, or raises.
ReadExactly = Callable[[int], bytes]

_MAGIC = b"AMB1"
_PREFIX = struct.Struct(">4sIQ")


class FrameError(UsageError):
    """What arrived is no message of ours, or one that is too large."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    head: dict[str, Any]
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest message that is read, in bytes."""

    head: int
    body: int


def pack(frame: Frame) -> bytes:
    """A message as bytes."""
    head = json.dumps(frame.head, allow_nan=False).encode()
    return _PREFIX.pack(_MAGIC, len(head), len(frame.body)) + head + frame.body


def read_frame(read: ReadExactly, limits: Limits) -> tuple[Frame, bytes]:
    """Read one message, and give it with the bytes it came in; raises FrameError."""
    prefix = read(_PREFIX.size)
    magic, head_size, body_size = _PREFIX.unpack(prefix)
    if magic != _MAGIC:
        raise FrameError(f"not a message of automl: it begins with {magic!r}")
    for what, size, limit in (
        ("head", head_size, limits.head),
        ("body", body_size, limits.body),
    ):
        if size > limit:
            raise FrameError(f"a message's {what} may have {limit} bytes here, got {size}")
    head, body = read(head_size), read(body_size)
    try:
        plain = json.loads(head)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"a message's head is not JSON: {error}") from error
    if not isinstance(plain, dict):
        raise FrameError(f"a message's head must be a JSON object, got {type(plain).__name__}")
    return Frame(plain, body), prefix + head + body
