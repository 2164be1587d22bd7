import io
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl.bundle import archive
from automl.bundle.archive import parse_archive, render_archive
from automl.errors import BundleError

FILES = {"golden/00.input.png": b"picture", "model.onnx": bytes(range(256)) * 3, "empty": b""}
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


@given(st.dictionaries(NAMES, st.binary(max_size=60), min_size=1, max_size=6))
def test_files_survive_and_zipfile_reads_the_same(files):
    packed = render_archive(files)
    assert parse_archive(packed, name="x") == files
    with zipfile.ZipFile(io.BytesIO(packed)) as other:
        assert other.testzip() is None
        # ZipInfo cuts a name at the first null byte only, which the strategy leaves out.
        assert {entry.filename: other.read(entry) for entry in other.infolist()} == files


def test_order_of_the_files_does_not_matter():
    assert render_archive(dict(reversed(FILES.items()))) == render_archive(FILES)


def test_every_flipped_byte_is_refused():
    sound = render_archive(FILES)
    for position in range(len(sound)):
        changed = bytearray(sound)
        changed[position] ^= 0x21
        with pytest.raises(BundleError, match="no packed bundle as `automl bundle pack` writes it"):
            parse_archive(bytes(changed), name="x")


@pytest.mark.parametrize("length", [0, 1, 29, 40, -1, -22, -23])
def test_a_file_cut_short_or_continued_is_refused(length):
    sound = render_archive(FILES)
    for content in (sound[:length], sound + b"x", b"x" + sound, sound + sound):
        with pytest.raises(BundleError, match="no packed bundle"):
            parse_archive(content, name="x")


def by_zipfile(entries, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as writer:
        for entry, content in entries:
            writer.writestr(entry, content)
    return buffer.getvalue()


def test_a_bomb_is_refused_without_being_unpacked():
    bomb = by_zipfile([("model.onnx", b"\0" * 50_000_000)], zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    with pytest.raises(BundleError, match=r"'model\.onnx' is compressed, packed bundles are not"):
        parse_archive(bomb, name="x")


def test_a_claimed_size_is_not_believed():
    sound = bytearray(render_archive({"a": b"1234"}))
    struct.pack_into("<II", sound, 18, 0xFFFFFFF0, 0xFFFFFFF0)
    with pytest.raises(BundleError, match="'a' is cut short"):
        parse_archive(bytes(sound), name="x")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_links_folders_and_duplicates_are_refused():
    link = zipfile.ZipInfo("model.onnx", (1980, 1, 1, 0, 0, 0))
    link.external_attr = 0o120777 << 16
    for entries, told in [
        ([(link, "/etc/passwd")], "was changed"),
        ([("golden/", "")], "was changed"),
        ([("a", "1"), ("a", "2")], "was changed|twice"),
    ]:
        with pytest.raises(BundleError, match=told):
            parse_archive(by_zipfile(entries), name="x")


def test_entries_twice_or_out_of_order_are_refused():
    """Written by the writer itself, so that nothing but the order is wrong."""
    whole = [render_archive({name: b"1"}) for name in "ba"]
    entries = b"".join(each[: each.index(b"PK\1\2")] for each in whole)
    with pytest.raises(BundleError, match="'a' comes twice or out of order"):
        parse_archive(entries, name="x")
    first = whole[0][: whole[0].index(b"PK\1\2")]
    with pytest.raises(BundleError, match="'b' comes twice or out of order"):
        parse_archive(first + first, name="x")


def test_encrypted_entries_and_strange_names_are_refused():
    sound = bytearray(render_archive({"a": b"1"}))
    sound[6] |= 1
    with pytest.raises(BundleError, match="'a' is encrypted"):
        parse_archive(bytes(sound), name="x")
    named = render_archive({"a": b"1"}).replace(b"a", b"\xff")
    with pytest.raises(BundleError, match="no name in UTF-8"):
        parse_archive(named, name="x")


def test_limits_hold_for_writing_and_reading(monkeypatch):
    many = {f"{index:03d}": b"1" for index in range(11)}
    sound = render_archive(many)
    monkeypatch.setattr(archive, "MAX_FILES", 10)
    with pytest.raises(BundleError, match="at most 10 files, got 11"):
        render_archive(many)
    with pytest.raises(BundleError, match="more than 10 files"):
        parse_archive(sound, name="x")
    monkeypatch.setattr(archive, "MAX_BYTES", 1 << 20)
    with pytest.raises(BundleError, match="at most 1 MiB, got 2 MiB"):
        render_archive({"a": bytes(2 << 20)})


def test_random_bytes_are_refused():
    random = np.random.default_rng(0)
    for size in random.integers(0, 400, 50):
        with pytest.raises(BundleError, match="no packed bundle"):
            parse_archive(b"PK\3\4" + random.bytes(size), name="x")
