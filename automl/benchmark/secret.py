"""Proof that both ends know one secret, which never crosses the wire.

Each end sends a fresh random number and proves by an HMAC over both numbers that it has the secret.
From then on every message carries an HMAC under a key of that connection alone, over its direction,
its count and its bytes: none can be changed, dropped or replayed unnoticed. Messages are not
encrypted. Source: RFC 2104 (HMAC); challenge and response as in RFC 2195, in both directions.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from automl.errors import UsageError

#: Bytes of an HMAC.
MAC_SIZE = 32

#: Fewest characters of a token: shorter ones can be guessed from one overheard proof.
MIN_TOKEN = 16

_MAKE = "make one: (umask 077; openssl rand -hex 32 > {path})"


@dataclass(frozen=True, slots=True)
class Token:
    """A shared secret; it is not shown."""

    key: bytes

    def __repr__(self) -> str:
        return "Token(...)"

    def proof(self, role: str, nonces: str) -> str:
        """What only an end of that role that has the token can say about both nonces."""
        return hmac.new(self.key, f"automl {role} {nonces}".encode(), hashlib.sha256).hexdigest()

    def accepts(self, proof: object, role: str, nonces: str) -> bool:
        """Whether a proof is the right one; takes as long for any wrong one."""
        if not isinstance(proof, str) or not proof.isascii():
            return False
        return hmac.compare_digest(proof, self.proof(role, nonces))

    def session_key(self, nonces: str) -> bytes:
        """The key of the messages of one connection."""
        return bytes.fromhex(self.proof("session", nonces))


def new_nonce() -> str:
    """A random number that was never used before, in hex."""
    return secrets.token_hex(32)


def message_mac(key: bytes, role: str, count: int, content: bytes) -> bytes:
    """The HMAC of the `count`-th message that the end of that role sends."""
    return hmac.new(key, f"{role} {count} ".encode() + content, hashlib.sha256).digest()


def read_token(path: Path) -> Token:
    """Read a token file, white space at its ends aside; raises UsageError.

    On POSIX nobody but its owner may be allowed to read it.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError as error:
        raise UsageError(
            f"{path}: no such token file; {_MAKE.format(path=path)}, and copy it to the other end"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a readable token file: {error}") from error
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise UsageError(f"{path}: others can read this token: chmod 600 {path}")
    if len(text) < MIN_TOKEN:
        raise UsageError(
            f"{path}: a token needs at least {MIN_TOKEN} characters, got {len(text)}; "
            f"{_MAKE.format(path=path)}"
        )
    return Token(text.encode())
