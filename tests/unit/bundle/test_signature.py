import base64
import hashlib
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from automl.bundle.amending import sign_bundle
from automl.bundle.checksums import write_checksums
from automl.bundle.keys import SecretKey, make_key_files
from automl.bundle.packing import pack_bundle, unpack_bundle
from automl.bundle.signature import PublicKey, Signature
from automl.bundle.verify import verify_bundle
from automl.errors import BundleError, UsageError

#: Made by minisign 0.11 with `-G -W` and `-S`, of a file that holds `hi` and a line end.
MINISIGN_PUBLIC = "RWQtScO90S2JZEQieCTJslKHMzP1yGpG8GoxGATksws9jr6I7TNLuorj"
MINISIGN_SECRET = (
    "untrusted comment: minisign encrypted secret key\n"
    "RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAALUnDvdEtiWS3ojBeIfZv4Ucm"
    "4ebSlFhmK0y6wSSwWl0VhTmWBJIQ2kQieCTJslKHMzP1yGpG8GoxGATksws9jr6I7TNLuorjAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAA=\n"
)
MINISIGN_SIGNATURE = (
    "untrusted comment: signature from minisign secret key\n"
    "RUQtScO90S2JZPZ+00nbM3tNqCpBkXSo0Usbao/Epa0R9mDAcyjGysLZiA5+HnQv+09QnzWwc0vfsA0nBpWQkLdB2Wf0nmoYiws=\n"
    "trusted comment: timestamp:1795550634\tfile:checksums.json\thashed\n"
    "5gHyQ7fniTuVHK5YhWPCmnG+5kUF9LjOFM6jDYqw3w3e6HYIMf8lpGd67GN28qq869KzHHNTbADVmZfbEqfbDA==\n"
)


@pytest.fixture
def key(tmp_path):
    make_key_files(tmp_path / "me.key")
    return SecretKey.read(tmp_path / "me.key")


@pytest.fixture
def public(key):
    return key.public()


def test_a_signed_bundle_is_verified_folder_or_packed(bundle, key, public, tmp_path):
    sign_bundle(bundle, key)
    packed = tmp_path / "x.automl.zip"
    pack_bundle(bundle, packed)
    for place in (bundle, packed):
        assert "signed by key" in verify_bundle(place, public_key=public).lines()[-1]
        assert "not checked" in verify_bundle(place).lines()[-1]
    unpack_bundle(packed, tmp_path / "again")
    verify_bundle(tmp_path / "again", public_key=public)


def test_signing_a_packed_bundle_is_packing_a_signed_one(bundle, key, tmp_path):
    unsigned, signed = tmp_path / "a.automl.zip", tmp_path / "b.automl.zip"
    pack_bundle(bundle, unsigned)
    sign_bundle(bundle, key)
    pack_bundle(bundle, signed)
    sign_bundle(unsigned, key)
    assert unsigned.read_bytes() == signed.read_bytes()
    sign_bundle(unsigned, key)
    assert unsigned.read_bytes() == signed.read_bytes()


def test_the_signature_holds_by_the_definition_of_the_format(bundle, key, public):
    sign_bundle(bundle, key)
    _, first, trusted, second, end = (bundle / "checksums.json.minisig").read_text().split("\n")
    first, second = base64.b64decode(first), base64.b64decode(second)
    content = (bundle / "checksums.json").read_bytes()
    checker = Ed25519PublicKey.from_public_bytes(public.key)
    assert (first[:2], first[2:10], end) == (b"ED", key.key_id, "")
    checker.verify(first[10:], hashlib.blake2b(content).digest())
    assert trusted == "trusted comment: automl bundle 0003-abcdef12-int8"
    checker.verify(second, first[10:] + trusted.removeprefix("trusted comment: ").encode())


def test_files_of_minisign_are_read_and_give_its_signature(tmp_path):
    path = tmp_path / "s.key"
    path.write_text(MINISIGN_SECRET)
    path.chmod(0o600)
    secret = SecretKey.read(path)
    assert secret.public() == PublicKey.read(MINISIGN_PUBLIC)
    theirs = Signature.parse(MINISIGN_SIGNATURE.encode())
    assert secret.sign(b"hi\n", theirs.comment) == theirs


def test_unsigned_is_refused_where_a_key_is_given(bundle, public):
    with pytest.raises(BundleError, match=r"not signed; a signature by key [0-9A-F]{16} was asked"):
        verify_bundle(bundle, public_key=public)


def test_another_key_is_refused(bundle, key, tmp_path):
    sign_bundle(bundle, key)
    other = SecretKey.new().public()
    with pytest.raises(BundleError, match=r"signed by key [0-9A-F]{16}, not by key"):
        verify_bundle(bundle, public_key=other)
    with pytest.raises(BundleError, match="does not hold"):
        verify_bundle(bundle, public_key=PublicKey(key.key_id, other.key))


def test_what_was_changed_with_its_checksums_after_signing_is_refused(bundle, key, public):
    sign_bundle(bundle, key)
    (bundle / "MODEL_CARD.md").write_text("something else")
    write_checksums(bundle)
    verify_bundle(bundle)
    with pytest.raises(BundleError, match="the signature does not hold"):
        verify_bundle(bundle, public_key=public)


def test_a_changed_comment_is_refused(bundle, key, public):
    sign_bundle(bundle, key)
    path = bundle / "checksums.json.minisig"
    path.write_text(path.read_text().replace("automl bundle 0003", "automl bundle 0004"))
    with pytest.raises(BundleError, match="the signature does not hold"):
        verify_bundle(bundle, public_key=public)


def test_a_signature_file_that_is_none_is_a_fault_for_everybody(bundle, key):
    sign_bundle(bundle, key)
    path = bundle / "checksums.json.minisig"
    for text in ("", "\n\n\n\n", path.read_text() + "\n", path.read_text().replace("\nRU", "\nRW")):
        path.write_text(text)
        with pytest.raises(BundleError, match=r"minisig: not a signature in the form"):
            verify_bundle(bundle)


def test_a_damaged_bundle_is_not_signed(bundle, key):
    (bundle / "MODEL_CARD.md").write_text("something else")
    with pytest.raises(BundleError, match="damaged bundle"):
        sign_bundle(bundle, key)
    assert not (bundle / "checksums.json.minisig").exists()


def test_key_files_are_private_and_never_replaced(tmp_path):
    path = tmp_path / "me.key"
    make_key_files(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="a key is never replaced"):
        make_key_files(path)
    path.chmod(0o640)
    with pytest.raises(UsageError, match="others can read this secret key: chmod 600"):
        SecretKey.read(path)
    with pytest.raises(UsageError, match=r"ends in \.key"):
        make_key_files(tmp_path / "me.pub")


def test_what_is_no_key_is_told(tmp_path, key):
    path = tmp_path / "me.key"
    for text, told in [
        ("", "no secret key"),
        ("x\n%%%\n", "not a readable key file"),
        ((tmp_path / "me.pub").read_text(), "no secret key"),
        (path.read_text().replace("RWQAAEIy", "RWRTY0Iy"), "has a password"),
        (path.read_text()[:150] + "AAAA" + path.read_text()[154:], "damaged secret key"),
    ]:
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(UsageError, match=told):
            SecretKey.read(path)
    with pytest.raises(UsageError, match="no such key file"):
        SecretKey.read(tmp_path / "none.key")
    for given in ("", "none.pub", str(path), MINISIGN_PUBLIC[:-4]):
        with pytest.raises(UsageError, match="--public-key: a file that"):
            PublicKey.read(given)
