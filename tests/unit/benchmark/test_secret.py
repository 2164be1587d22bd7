import pytest

from automl.benchmark.secret import Token, message_mac, new_nonce, read_token
from automl.errors import UsageError

TOKEN = Token(b"a secret of sixteen")


def token_file(path, text, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_token_is_read_without_the_space_around_it_and_not_shown(tmp_path):
    token = read_token(token_file(tmp_path / "token", "0123456789abcdef\n"))
    assert token == Token(b"0123456789abcdef")
    assert "0123" not in repr(token)


@pytest.mark.parametrize(
    ("text", "mode", "told"),
    [("short\n", 0o600, "at least 16 characters, got 5"), ("0" * 32, 0o644, "chmod 600")],
)
def test_a_weak_token_file_is_refused(tmp_path, text, mode, told):
    with pytest.raises(UsageError, match=told):
        read_token(token_file(tmp_path / "token", text, mode))


def test_a_missing_token_file_is_told_with_how_to_make_one(tmp_path):
    with pytest.raises(UsageError, match="no such token file; make one: "):
        read_token(tmp_path / "token")


@pytest.mark.parametrize("change", ["role", "nonces", "token", "none", "other letters"])
def test_a_proof_holds_for_one_role_one_exchange_and_one_token(change):
    nonces = f"{new_nonce()} {new_nonce()}"
    proof = TOKEN.proof("client", nonces)
    assert TOKEN.accepts(proof, "client", nonces)
    wrong = {
        "role": TOKEN.proof("agent", nonces),
        "nonces": TOKEN.proof("client", new_nonce()),
        "token": Token(b"another secret here").proof("client", nonces),
        "none": None,
        "other letters": "é" * 64,
    }
    assert not TOKEN.accepts(wrong[change], "client", nonces)


def test_a_message_mac_depends_on_the_direction_the_count_and_every_byte():
    macs = {
        message_mac(b"k", role, count, content)
        for role in ("client", "agent")
        for count in (0, 1)
        for content in (b"a", b"b")
    }
    assert len(macs) == 8
