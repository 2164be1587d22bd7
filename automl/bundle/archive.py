"""A ZIP file in one valid form: the same files give the same bytes, and no other bytes are read.

Entries are sorted by name, plain, uncompressed, with one fixed time and fixed rights. Reading
checks every byte of every header against what would have been written, so that nothing can hide in
one: no compression and therefore no bomb, no links, folders, duplicates, comments, encryption,
extra fields, gaps or overlaps, and no two programs that read it differently. Any ZIP tool opens it.

Source: PKWARE, .ZIP File Format Specification (APPNOTE.TXT) 6.3, sections 4.3.7, 4.3.12, 4.3.16.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

from automl.errors import BundleError

#: Most bytes of a packed bundle, and most files in it.
MAX_BYTES = 1 << 30
MAX_FILES = 1000

_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_END = struct.Struct("<IHHHHIIH")
_LOCAL_SIGNATURE, _CENTRAL_SIGNATURE, _END_SIGNATURE = 0x04034B50, 0x02014B50, 0x06054B50

#: Version 2.0, as files in folders need it; made on Unix.
_VERSION, _MADE_BY = 20, (3 << 8) | 20
#: Names are UTF-8.
_UTF8 = 1 << 11
#: 1 January 1980, 00:00: the first time that the format can tell.
_TIME, _DATE = 0, (1 << 5) | 1
#: A regular file, rw-r--r--.
_RIGHTS = 0o100644 << 16


def render_archive(files: Mapping[str, bytes]) -> bytes:
    """The ZIP file of `files` (name to content); raises BundleError where they are too many."""
    if len(files) > MAX_FILES:
        raise BundleError(f"a packed bundle holds at most {MAX_FILES} files, got {len(files)}")
    size = sum(map(len, files.values()))
    if size > MAX_BYTES:
        raise BundleError(
            f"a packed bundle holds at most {MAX_BYTES >> 20} MiB, got {size >> 20} MiB"
        )
    parts: list[bytes] = []
    directory: list[bytes] = []
    position = 0
    for name in sorted(files):
        encoded, content = name.encode(), files[name]
        header = _local_header(encoded, content)
        directory.append(_central_header(encoded, content, position))
        parts += [header, content]
        position += len(header) + len(content)
    return b"".join([*parts, *directory, _end(directory, position)])


def parse_archive(archive: bytes, *, name: str) -> dict[str, bytes]:
    """The files of an archive that `render_archive` made; raises BundleError of any other.

    `name` is what messages call it.
    """
    files: dict[str, bytes] = {}
    directory: list[bytes] = []
    position = 0
    while (found := _entry(archive, position, name)) is not None:
        encoded, content, header = found
        entry = _decoded(encoded, name)
        if files and entry <= next(reversed(files)):
            raise _refused(name, f"{entry!r} comes twice or out of order")
        if len(files) == MAX_FILES:
            raise _refused(name, f"it holds more than {MAX_FILES} files")
        files[entry] = content
        directory.append(_central_header(encoded, content, position))
        position += len(header) + len(content)
    if not files:
        raise _refused(name, "it does not begin as one")
    if archive[position:] != b"".join([*directory, _end(directory, position)]):
        raise _refused(name, "it is cut short, or the list of its files at its end was changed")
    return files


def _entry(archive: bytes, position: int, name: str) -> tuple[bytes, bytes, bytes] | None:
    """Name, content and header of the entry at `position`; None where there is none."""
    fixed = archive[position : position + _LOCAL.size]
    if len(fixed) < _LOCAL.size or not fixed.startswith(_LOCAL_SIGNATURE.to_bytes(4, "little")):
        return None
    _, _, flags, method, _, _, _, _, size, name_size, _ = _LOCAL.unpack(fixed)
    start = position + _LOCAL.size
    encoded = archive[start : start + name_size]
    entry = _decoded(encoded, name)
    if flags & 1:
        raise _refused(name, f"{entry!r} is encrypted")
    if method != 0:
        raise _refused(name, f"{entry!r} is compressed, packed bundles are not")
    content = archive[start + name_size : start + name_size + size]
    header = _local_header(encoded, content)
    if len(content) < size:
        raise _refused(name, f"{entry!r} is cut short")
    if archive[position : position + len(header)] != header:
        raise _refused(name, f"{entry!r} was changed: its header does not fit its content")
    return encoded, content, header


def _decoded(encoded: bytes, name: str) -> str:
    try:
        return encoded.decode()
    except UnicodeDecodeError as error:
        raise _refused(name, f"{encoded!r} is no name in UTF-8") from error


def _refused(name: str, reason: str) -> BundleError:
    return BundleError(
        f"{name}: no packed bundle as `automl bundle pack` writes it: {reason}; "
        "a folder can be packed again"
    )


def _local_header(encoded: bytes, content: bytes) -> bytes:
    size = len(content)
    fixed = _LOCAL.pack(
        _LOCAL_SIGNATURE,
        _VERSION,
        _UTF8,
        0,
        _TIME,
        _DATE,
        zlib.crc32(content),
        size,
        size,
        len(encoded),
        0,
    )
    return fixed + encoded


def _central_header(encoded: bytes, content: bytes, position: int) -> bytes:
    size = len(content)
    fixed = _CENTRAL.pack(
        _CENTRAL_SIGNATURE,
        _MADE_BY,
        _VERSION,
        _UTF8,
        0,
        _TIME,
        _DATE,
        zlib.crc32(content),
        size,
        size,
        len(encoded),
        0,
        0,
        0,
        0,
        _RIGHTS,
        position,
    )
    return fixed + encoded


def _end(directory: list[bytes], position: int) -> bytes:
    count, size = len(directory), sum(map(len, directory))
    return _END.pack(_END_SIGNATURE, 0, 0, count, count, size, position, 0)
