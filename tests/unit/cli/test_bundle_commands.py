"""`automl bundle ...` as the user types it."""

import json

import pytest
from typer.testing import CliRunner

from automl.bundle.manifest import manifest_schema
from automl.cli import main as entry
from automl.errors import UsageError


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run `automl bundle WORDS` in a folder of its own: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr("sys.argv", ["automl", "bundle", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            entry.main()
        told = capsys.readouterr()
        return caught.value.code or 0, told.out, told.err

    return run


def test_pack_sign_verify_unpack(run, bundle):
    code, out, _ = run("pack", "bundle", "--out", "b.automl.zip")
    assert code == 0
    assert out.startswith("b.automl.zip: 10 files, SHA-256 ")
    code, out, _ = run("keygen", "me.key")
    assert code == 0
    public = out.splitlines()[-1]
    assert public.startswith("RW")
    code, out, _ = run("sign", "b.automl.zip", "--key", "me.key")
    assert (code, out.split(" by ")[0]) == (0, "b.automl.zip: signed")
    for key in ("me.pub", public):
        code, out, _ = run("verify", "b.automl.zip", "--public-key", key)
        assert code == 0
        assert out.startswith("b.automl.zip: verified\n  11 files match their checksums\n")
        assert "  signed by key " in out
        assert "not checked" not in out
    assert run("unpack", "b.automl.zip", "--out", "new")[:2] == (0, "new: 11 files\n")
    code, out, _ = run("verify", "new")
    assert (code, out.splitlines()[-1].split(", ")[-1]) == (0, "not checked: give --public-key")


def test_what_is_refused_has_exit_code_2_and_no_traceback(run, bundle):
    run("keygen", "me.key")
    (bundle.parent / "x.automl.zip").write_bytes(b"PK\3\4")
    for words, told in [
        (["verify", "bundle", "--public-key", "me.pub"], "not signed"),
        (["verify", "bundle", "--public-key", "you.pub"], "--public-key: a file that"),
        (["verify", "x.automl.zip"], "no packed bundle"),
        (["unpack", "x.automl.zip", "--out", "new"], "no packed bundle"),
        (["keygen", "me.key"], "a key is never replaced"),
        (["sign", "bundle", "--key", "you.key"], "no such key file"),
        (["migrate", "bundle"], "nothing to do"),
        (["batch", "bundle", "--out", "x.bin"], "must end in .onnx"),
        (["pack", "nowhere", "--out", "y.automl.zip"], "no such folder"),
    ]:
        code, _, err = run(*words)
        assert code == 2, words
        assert told in err
        assert "Traceback" not in err


def test_schema_and_batch(run, bundle):
    code, out, _ = run("schema")
    assert (code, json.loads(out)) == (0, manifest_schema())
    code, out, _ = run("batch", "bundle", "--out", "any.onnx")
    assert code == 0
    assert (
        out == "any.onnx: any number of images of 48 x 32 pixels at once, checked against bundle\n"
    )


def test_the_benchmark_takes_packed_bundles(bundle, tmp_path, run):
    from automl.benchmark.plan import load_subjects

    run("pack", "bundle", "--out", "b.automl.zip")
    one, other = load_subjects([tmp_path / "b.automl.zip", bundle])
    assert one.content == other.content
    assert one.size == (32, 48)


def test_serving_a_bundle_that_is_not_signed_is_refused(bundle, tmp_path, run):
    run("keygen", "me.key")
    words = ["serve", str(bundle), "--public-key", str(tmp_path / "me.pub")]
    done = CliRunner().invoke(entry.app, words)
    assert isinstance(done.exception, UsageError)
    assert "not signed" in str(done.exception)
