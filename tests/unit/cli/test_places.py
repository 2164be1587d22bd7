"""Where commands read and write: paths, and URLs of what they read."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from automl.cli import main as entry
from automl.errors import UsageError


def run(*words):
    return CliRunner().invoke(entry.app, [str(w) for w in words], catch_exceptions=False)


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--space", "quickstart.yaml", "--out", "s3://bucket/training"],
        ["export", "BUNDLE", "--to", "pt2", "--out", "s3://bucket/training"],
        ["evaluate", "BUNDLE", "--data", "D", "--out", "s3://bucket/training"],
        ["bundle", "migrate", "s3://bucket/training"],
    ],
)
def test_what_writes_elsewhere_than_here_says_so(words):
    named = "BUNDLE" if words[0] == "bundle" else "--out"
    with pytest.raises(UsageError, match=rf"^{named}: given s3://bucket/training; allowed: a path"):
        run(*words)


def commands(command, name=""):
    """Every command of the tree, by the words that call it."""
    below = getattr(command, "commands", None)
    if below is None:
        return {name: command}
    return {
        words: leaf
        for word, child in below.items()
        for words, leaf in commands(child, f"{name} {word}".strip()).items()
    }


def test_no_command_writes_to_a_folder_named_like_a_url():
    """Each option that names what is written has a callback that looks at it."""
    unguarded = [
        f"{words} {parameter.opts[0]}"
        for words, command in commands(typer.main.get_command(entry.app)).items()
        for parameter in command.params
        if parameter.name in {"out", "overlay", "json"}
        and parameter.type_descriptor.annotation is Path
        and parameter.callback is None
    ]
    assert not unguarded


def test_what_reads_from_a_store_names_what_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOML_CACHE", str(tmp_path / "cache"))
    url = f"file://{tmp_path}/store/bundles/best"
    with pytest.raises(UsageError, match=rf"^BUNDLE: {url}: nothing is there"):
        run("bundle", "verify", url)
    with pytest.raises(UsageError, match=rf"^SECOND: {url}: nothing is there"):
        run("compare", tmp_path, url, "--data", "builtin:surface-defects")


def test_a_bundle_in_a_store_is_verified(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOML_CACHE", str(tmp_path / "cache"))
    done = run("bundle", "verify", f"file://{bundle}")
    assert done.exit_code == 0, done.output
    assert "verified" in done.output


def test_a_path_with_a_colon_is_a_path(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    (tmp_path / "s3:" / "best").symlink_to(bundle)
    assert "verified" in run("bundle", "verify", "s3:/best").output
