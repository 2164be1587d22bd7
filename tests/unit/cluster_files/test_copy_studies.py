"""Studies copied to object storage; a folder stands in for the bucket, through the same library."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "cluster" / "copy_studies.py"


def copy(source: Path, target: Path) -> str:
    done = subprocess.run(
        [sys.executable, SCRIPT, source, target.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def studies(tmp_path):
    folder = tmp_path / "studies"
    (folder / "camvid" / "trials").mkdir(parents=True)
    (folder / "camvid" / "journal.jsonl").write_text("a\n")
    (folder / "camvid" / "trials" / "weights").write_bytes(bytes(range(256)))
    (folder / "camvid" / ".report.md.staged").write_text("half")
    return folder


def test_all_files_arrive_as_they_are_but_for_half_written_ones(studies, tmp_path):
    assert "copied 2 files" in copy(studies, tmp_path / "bucket")
    arrived = {
        path.relative_to(tmp_path / "bucket").as_posix(): path.read_bytes()
        for path in (tmp_path / "bucket").rglob("*")
        if path.is_file()
    }
    assert arrived == {"camvid/journal.jsonl": b"a\n", "camvid/trials/weights": bytes(range(256))}


def test_only_what_has_changed_is_copied_again(studies, tmp_path):
    from pyarrow import fs

    script = runpy.run_path(str(SCRIPT))
    copied = {}
    root = str(tmp_path / "bucket")

    def once():
        return script["copy_once"](studies, fs.LocalFileSystem(), root, copied)

    assert [once(), once()] == [2, 0]
    journal = studies / "camvid" / "journal.jsonl"
    journal.write_text("a\nb\n")
    assert once() == 1
    os.utime(journal, ns=(0, 12345))
    assert once() == 1, "same size, written again"
    assert (tmp_path / "bucket/camvid/journal.jsonl").read_text() == "a\nb\n"
