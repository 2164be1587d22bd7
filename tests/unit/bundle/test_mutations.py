"""Bundles with a fault planted by a seed: each is refused with a message, never with a traceback.

A mutation changes the files of a bundle by name to content, as its author could: where a fault is
meant to lie deeper than the checksums, these are made anew. A quarter is tried as a folder, the
rest packed.
"""

import io
import json
import os
import random
import zipfile
import zlib
from collections.abc import Callable

import pytest

from automl.bundle import layout
from automl.bundle.amending import sign_bundle
from automl.bundle.archive import render_archive
from automl.bundle.checksums import render_checksums
from automl.bundle.files import sha256
from automl.bundle.keys import SecretKey
from automl.bundle.packing import sound_contents
from automl.bundle.verify import verify_bundle
from automl.cli import main as entry
from automl.errors import BundleError

NUM_MUTATIONS = 240
Files = dict[str, bytes]


def with_checksums(files: Files) -> Files:
    others = {n: c for n, c in files.items() if n not in (layout.CHECKSUMS, layout.SIGNATURE)}
    checksums = {name: sha256(content) for name, content in others.items()}
    return {**files, layout.CHECKSUMS: render_checksums(checksums)}


def flipped_byte(files: Files, draw: random.Random) -> Files:
    name = draw.choice(sorted(files))
    content = bytearray(files[name])
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return {**files, name: bytes(content)}


def missing_file(files: Files, draw: random.Random) -> Files:
    name = draw.choice(sorted(files))
    return {other: content for other, content in files.items() if other != name}


def missing_file_with_new_checksums(files: Files, draw: random.Random) -> Files:
    name = draw.choice([layout.MODEL, layout.MANIFEST, layout.CARD, "golden/01.mask.png"])
    return with_checksums({other: c for other, c in files.items() if other != name})


def extra_file(files: Files, draw: random.Random) -> Files:
    name = draw.choice(["a.txt", "golden/07.input.png", "x/y/z", "model.onnx.data", "bundle.jsn"])
    return {**files, name: draw.randbytes(20)}


def swapped_files(files: Files, draw: random.Random) -> Files:
    one, other = draw.sample(sorted(files), 2)
    return {**files, one: files[other], other: files[one]}


def swapped_masks_with_new_checksums(files: Files, draw: random.Random) -> Files:
    one, other = draw.sample(range(3), 2)
    names = layout.golden_mask(one), layout.golden_mask(other)
    return with_checksums({**files, names[0]: files[names[1]], names[1]: files[names[0]]})


def truncated_file(files: Files, draw: random.Random) -> Files:
    name = draw.choice(sorted(files))
    return {**files, name: files[name][: draw.randrange(len(files[name]))]}


def truncated_file_with_new_checksums(files: Files, draw: random.Random) -> Files:
    name = draw.choice([n for n in sorted(files) if n.endswith((".png", ".onnx", ".json"))])
    cut = {**files, name: files[name][: draw.randrange(len(files[name]) // 2)]}
    return cut if name == layout.CHECKSUMS else with_checksums(cut)


def path_in_the_checksums_that_leads_out(files: Files, draw: random.Random) -> Files:
    name = draw.choice(
        ["../x", "/etc/passwd", "golden/../../x", "C:\\x", "a\0b", "\ud800", "x" * 5000, ""]
    )
    checksums = json.loads(files[layout.CHECKSUMS])["sha256"] | {name: "0" * 64}
    return {**files, layout.CHECKSUMS: render_checksums(checksums)}


def fault_in_the_checksums(files: Files, draw: random.Random) -> Files:
    content = draw.choice(
        [b"", b"[]", b"null", b"[" * 100_000, b'{"sha256": []}', b'{"sha256": {"a": 1}}', b"\xff"]
    )
    return {**files, layout.CHECKSUMS: content}


def fault_in_the_manifest(files: Files, draw: random.Random) -> Files:
    plain = json.loads(files[layout.MANIFEST])
    key = draw.choice(sorted(set(plain) - {"params", "packages", "seeds"}))
    values = [None, -1, "x\0", [], {"a": {}}, 1e400, [[[]]], True, "9" * 5000]
    # What is a text may be any text.
    refused = [value for value in values if not (isinstance(plain[key], str) and value == "x\0")]
    free = key in {"name", "dataset_name", "dataset_fingerprint"}
    chosen = draw.choice([v for v in refused if not (free and isinstance(v, str))])
    optional = chosen is None and key == "digests"
    changed = plain | {key: -2 if optional else chosen}
    return with_checksums({**files, layout.MANIFEST: json.dumps(changed).encode()})


def manifest_that_is_none(files: Files, draw: random.Random) -> Files:
    content = draw.choice([b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"schema_version": 9}'])
    return with_checksums({**files, layout.MANIFEST: content})


def model_that_is_none(files: Files, draw: random.Random) -> Files:
    model = draw.randbytes(draw.randrange(200))
    plain = json.loads(files[layout.MANIFEST])
    plain["digests"]["model"] = sha256(model if draw.random() < 0.7 else b"another")
    manifest = json.dumps(plain).encode()
    return with_checksums({**files, layout.MODEL: model, layout.MANIFEST: manifest})


def picture_that_claims_too_many_pixels(files: Files, draw: random.Random) -> Files:
    name = draw.choice([layout.golden_input(0), layout.golden_mask(0)])
    content = bytearray(files[name])
    content[16:24] = (10_000).to_bytes(4) + (8_000).to_bytes(4)
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4)
    return with_checksums({**files, name: bytes(content)})


CONTENT: list[Callable[[Files, random.Random], Files]] = [
    flipped_byte,
    missing_file,
    missing_file_with_new_checksums,
    extra_file,
    swapped_files,
    swapped_masks_with_new_checksums,
    truncated_file,
    truncated_file_with_new_checksums,
    path_in_the_checksums_that_leads_out,
    fault_in_the_checksums,
    fault_in_the_manifest,
    manifest_that_is_none,
    model_that_is_none,
    picture_that_claims_too_many_pixels,
]


def escaping_name(packed: bytes, draw: random.Random) -> bytes:
    return render_archive({draw.choice(["../x", "/x", "a/../x", "a\\b", "C:x"]): b"x"})


def flipped_byte_of_the_archive(packed: bytes, draw: random.Random) -> bytes:
    changed = bytearray(packed)
    changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def truncated_archive(packed: bytes, draw: random.Random) -> bytes:
    return packed[: draw.randrange(len(packed))]


def bytes_around_the_archive(packed: bytes, draw: random.Random) -> bytes:
    return packed + b"x" if draw.random() < 0.5 else b"#!/bin/sh\n" + packed


def bomb(packed: bytes, draw: random.Random) -> bytes:
    buffer = io.BytesIO()
    method = draw.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    with zipfile.ZipFile(buffer, "w", method) as writer:
        writer.writestr("model.onnx", bytes(2_000_000))
    return buffer.getvalue()


def link_in_the_archive(packed: bytes, draw: random.Random) -> bytes:
    buffer = io.BytesIO()
    link = zipfile.ZipInfo("model.onnx")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(buffer, "w") as writer:
        writer.writestr(link, "/etc/passwd")
    return buffer.getvalue()


ARCHIVE: list[Callable[[bytes, random.Random], bytes]] = [
    escaping_name,
    flipped_byte_of_the_archive,
    truncated_archive,
    bytes_around_the_archive,
    bomb,
    link_in_the_archive,
]


@pytest.fixture(scope="module")
def key():
    return SecretKey.new()


@pytest.fixture
def signed(bundle, key):
    sign_bundle(bundle, key)
    return sound_contents(bundle)


def test_the_bundle_that_is_mutated_is_sound(signed, key, tmp_path):
    path = tmp_path / "x.automl.zip"
    path.write_bytes(render_archive(signed))
    verify_bundle(path, public_key=key.public())


def placed(number: int, sound: Files, folder) -> tuple[str, os.PathLike[str]]:
    """The mutation of a number, and where it was written."""
    draw = random.Random(number)
    kinds = [*CONTENT, *ARCHIVE]
    kind = kinds[number % len(kinds)]
    packed = folder / f"{number}.automl.zip"
    if kind in ARCHIVE:
        packed.write_bytes(kind(render_archive(sound), draw))
        return kind.__name__, packed
    files = kind(sound, draw)
    assert files != sound, kind.__name__
    if draw.random() < 0.75:
        packed.write_bytes(render_archive(files))
        return kind.__name__, packed
    for name, content in files.items():
        path = folder / str(number) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return kind.__name__, folder / str(number)


def answer(path, public_key=None) -> str:
    """What is told of a bundle; empty where it is accepted."""
    try:
        verify_bundle(path, public_key=public_key)
    except BundleError as error:
        return str(error)
    return ""


def test_every_mutation_is_refused_with_a_message(signed, tmp_path):
    unsigned = {name: content for name, content in signed.items() if name != layout.SIGNATURE}
    for number in range(NUM_MUTATIONS):
        kind, path = placed(number, unsigned, tmp_path)
        assert answer(path).startswith(f"{path}: "), (number, kind)


def test_every_change_is_refused_by_the_key_before_anything_else(signed, key, tmp_path):
    for number in range(len(CONTENT) + len(ARCHIVE)):
        kind, path = placed(number, signed, tmp_path)
        assert answer(path, key.public()).startswith(f"{path}: "), (number, kind)


def test_the_command_line_tells_without_a_traceback(signed, tmp_path, monkeypatch, capsys):
    for number in range(0, NUM_MUTATIONS, 23):
        _, path = placed(number, signed, tmp_path)
        monkeypatch.setattr("sys.argv", ["automl", "bundle", "verify", str(path)])
        with pytest.raises(SystemExit) as caught:
            entry.main()
        assert caught.value.code == 2
        told = capsys.readouterr().err
        assert told.startswith("error:")
        assert str(path) in told
        assert "Traceback" not in told
