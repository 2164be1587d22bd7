"""Secret keys, in the file of minisign without a password; the only importer of cryptography.

Source: https://jedisct1.github.io/minisign/, section "Secret key format".
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from automl.bundle.signature import PublicKey, Signature, content_digest, shown_id
from automl.errors import UsageError
from automl.store import atomic

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
except ModuleNotFoundError as fault:
    raise UsageError(
        "signatures need the package cryptography: pip install 'automl[sign]'"
    ) from fault

_KIND, _NO_PASSWORD, _CHECKSUM = b"Ed", b"\0\0", b"B2"
_ID_SIZE, _SEED_SIZE, _KEY_SIZE = 8, 32, 32
#: Salt and costs of a password, of which there is none.
_UNUSED = bytes(32 + 8 + 8)
_HEAD = _KIND + _NO_PASSWORD + _CHECKSUM + _UNUSED
#: Zeros where there is no password to be told wrong.
_CHECKSUM_SIZE = 32
_SIZE = len(_HEAD) + _ID_SIZE + _SEED_SIZE + _KEY_SIZE + _CHECKSUM_SIZE


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A key that bundles are signed with; it is not shown."""

    key_id: bytes
    seed: bytes

    def __repr__(self) -> str:
        return f"SecretKey({shown_id(self.key_id)})"

    @classmethod
    def new(cls) -> Self:
        """A key that nobody else has."""
        return cls(secrets.token_bytes(_ID_SIZE), secrets.token_bytes(_SEED_SIZE))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a secret key file; raises UsageError. Nobody but its owner may be able to read it.

        One with a password is refused: `minisign -C -W` takes it off.
        """
        content = _content(path)
        if len(content) != _SIZE or not content.startswith(_KIND):
            raise UsageError(f"{path}: no secret key; automl bundle keygen makes one")
        if content[: len(_HEAD)] != _HEAD:
            raise UsageError(
                f"{path}: this key has a password, which is not supported; keygen or "
                "minisign -G -W make one without"
            )
        start = len(_HEAD) + _ID_SIZE
        key = cls(content[len(_HEAD) : start], content[start : start + _SEED_SIZE])
        if key._bytes()[:-_CHECKSUM_SIZE] != content[:-_CHECKSUM_SIZE]:
            raise UsageError(f"{path}: a damaged secret key: its parts do not fit together")
        return key

    def public(self) -> PublicKey:
        """The key that others check signatures with."""
        private = Ed25519PrivateKey.from_private_bytes(self.seed)
        return PublicKey(self.key_id, private.public_key().public_bytes_raw())

    def sign(self, content: bytes, comment: str) -> Signature:
        """Sign some content; the same content and comment give the same signature."""
        private = Ed25519PrivateKey.from_private_bytes(self.seed)
        of_content = private.sign(content_digest(content))
        return Signature(
            self.key_id, of_content, comment, private.sign(of_content + comment.encode())
        )

    def write(self, path: Path) -> None:
        """Write the file, for its owner alone."""
        line = base64.b64encode(self._bytes()).decode()
        with atomic.staged_file(path) as staged:
            staged.touch(mode=0o600)
            staged.write_text(
                f"untrusted comment: automl secret key {shown_id(self.key_id)}\n{line}\n",
                encoding="utf-8",
            )

    def _bytes(self) -> bytes:
        return _HEAD + self.key_id + self.seed + self.public().key + bytes(_CHECKSUM_SIZE)


def make_key_files(path: Path) -> PublicKey:
    """Write a new secret key to `path` (NAME.key) and its public one beside it (NAME.pub).

    Raises UsageError for another name, and where one of the files exists: a key is never replaced.
    """
    if path.suffix != ".key":
        raise UsageError(f"the name of a secret key ends in .key, got {path}")
    public_path = path.with_suffix(".pub")
    for file in (path, public_path):
        if file.exists():
            raise UsageError(f"{file}: exists already, and a key is never replaced")
    key = SecretKey.new()
    key.write(path)
    atomic.write_text(public_path, key.public().text())
    return key.public()


def is_signed_by(key: bytes, content: bytes, signature: bytes) -> bool:
    """Whether a signature of some content is by the owner of a public key (RFC 8032)."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _content(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="utf-8").strip().splitlines()
        content = base64.b64decode(lines[-1] if lines else "", validate=True)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such key file; automl bundle keygen makes one") from error
    except (OSError, UnicodeDecodeError, binascii.Error) as error:
        raise UsageError(f"{path}: not a readable key file: {error}") from error
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise UsageError(f"{path}: others can read this secret key: chmod 600 {path}")
    return content
