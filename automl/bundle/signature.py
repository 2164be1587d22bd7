"""Signatures of bundles by Ed25519, in the files of minisign.

Signing and checking need `cryptography`, the extra `automl[sign]`; nothing else of a bundle does.

What is signed is `checksums.json`, and by it every file. Keys and signatures are those of minisign:
`minisign -Vm checksums.json -P KEY` checks one made here, and the other way round. A signature is
two: one of the BLAKE2b-512 of the file, and one of that signature together with the comment.

Source: https://jedisct1.github.io/minisign/ (formats); RFC 8032 (Ed25519), RFC 7693 (BLAKE2).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from automl.bundle.files import BundleFiles
from automl.bundle.layout import CHECKSUMS, SIGNATURE
from automl.errors import BundleError, UsageError

_ID_SIZE, _KEY_SIZE, _SIGNATURE_SIZE = 8, 32, 64
_KEY_KIND, _HASHED_KIND = b"Ed", b"ED"
_UNTRUSTED, _TRUSTED = "untrusted comment: ", "trusted comment: "
#: The first lines, which nothing signs, that are written here and by minisign.
_UNSIGNED = (
    f"{_UNTRUSTED}signature from automl secret key",
    f"{_UNTRUSTED}signature from minisign secret key",
)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that signatures are checked with; `key_id` is what it is told apart by."""

    key_id: bytes
    key: bytes

    @classmethod
    def read(cls, given: str) -> Self:
        """A public key file, or the key itself as the one line of Base64; raises UsageError."""
        path = Path(given)
        try:
            text = path.read_text(encoding="utf-8") if path.is_file() else given
        except UnicodeDecodeError as error:
            raise UsageError(f"{given}: no public key: not text") from error
        lines = text.strip().splitlines()
        content = _base64(lines[-1]) if lines else None
        if content is None or len(content) != 2 + _ID_SIZE + _KEY_SIZE or content[:2] != _KEY_KIND:
            raise UsageError(
                f"--public-key: a file that `automl bundle keygen` or minisign wrote, or the line "
                f"of such a file that begins with RW, got {given}"
            )
        return cls(content[2 : 2 + _ID_SIZE], content[2 + _ID_SIZE :])

    def text(self) -> str:
        """The content of the file."""
        line = base64.b64encode(_KEY_KIND + self.key_id + self.key).decode()
        return f"{_UNTRUSTED}automl public key {shown_id(self.key_id)}\n{line}\n"


@dataclass(frozen=True, slots=True)
class Signature:
    """The content of a signature file; `comment` is signed, too."""

    key_id: bytes
    of_content: bytes
    comment: str
    of_comment: bytes

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Read a signature file; raises BundleError of one that minisign would not write."""
        try:
            signature = cls._parsed(content.decode())
        except UnicodeDecodeError:
            signature = None
        if signature is None or not signature.is_written_as(content.decode()):
            raise BundleError("not a signature in the form in which it is written")
        return signature

    @classmethod
    def _parsed(cls, text: str) -> Self | None:
        lines = text.split("\n")
        if len(lines) != 5 or not lines[2].startswith(_TRUSTED):
            return None
        first, second = _base64(lines[1]), _base64(lines[3])
        if first is None or second is None or len(second) != _SIGNATURE_SIZE:
            return None
        if len(first) != 2 + _ID_SIZE + _SIGNATURE_SIZE or first[:2] != _HASHED_KIND:
            return None
        key_id, of_content = first[2 : 2 + _ID_SIZE], first[2 + _ID_SIZE :]
        return cls(key_id, of_content, lines[2].removeprefix(_TRUSTED), second)

    def text(self) -> str:
        """The content of the file."""
        first = base64.b64encode(_HASHED_KIND + self.key_id + self.of_content).decode()
        second = base64.b64encode(self.of_comment).decode()
        return f"{_UNSIGNED[0]}\n{first}\n{_TRUSTED}{self.comment}\n{second}\n"

    def is_written_as(self, text: str) -> bool:
        """Whether text has the one form of this signature, the comment of its writer aside."""
        unsigned, rest = text.split("\n", 1)
        return unsigned in _UNSIGNED and rest == self.text().split("\n", 1)[1]


def content_digest(content: bytes) -> bytes:
    """What is signed of a file."""
    return hashlib.blake2b(content, digest_size=64).digest()


def shown_id(key_id: bytes) -> str:
    """A key's id as minisign shows it: a little-endian number in hex."""
    return f"{int.from_bytes(key_id, 'little'):016X}"


def signer(files: BundleFiles) -> str | None:
    """The id of the key that a bundle's signature names; None where it has none."""
    if SIGNATURE not in files.names():
        return None
    return shown_id(Signature.parse(files.read(SIGNATURE)).key_id)


def signature_faults(files: BundleFiles) -> dict[str, str]:
    """What is wrong with a bundle's signature to anybody, without a key."""
    if SIGNATURE not in files.names() - files.links():
        return {}
    try:
        Signature.parse(files.read(SIGNATURE))
    except BundleError as error:
        return {SIGNATURE: str(error)}
    return {}


def check_signature(path: Path, files: BundleFiles, public_key: PublicKey) -> None:
    """Raise BundleError unless the bundle carries a signature of its checksums by this key."""
    wanted = shown_id(public_key.key_id)
    names = files.names() - files.links()
    if SIGNATURE not in names or CHECKSUMS not in names:
        raise BundleError(f"{path}: not signed; a signature by key {wanted} was asked for")
    try:
        signature = Signature.parse(files.read(SIGNATURE))
    except BundleError as error:
        raise BundleError(f"{path}: {SIGNATURE}: {error}") from error
    if signature.key_id != public_key.key_id:
        raise BundleError(
            f"{path}: signed by key {shown_id(signature.key_id)}, not by key {wanted}"
        )
    if not _holds(signature, files.read(CHECKSUMS), public_key):
        raise BundleError(
            f"{path}: the signature does not hold: {CHECKSUMS} or {SIGNATURE} was changed after "
            f"key {wanted} signed it, or another key claims that id"
        )


def _holds(signature: Signature, content: bytes, public_key: PublicKey) -> bool:
    from automl.bundle.keys import is_signed_by  # noqa: PLC0415  (an extra)

    comment = signature.of_content + signature.comment.encode()
    return is_signed_by(
        public_key.key, content_digest(content), signature.of_content
    ) and is_signed_by(public_key.key, comment, signature.of_comment)


def _base64(line: str) -> bytes | None:
    try:
        return base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        return None
