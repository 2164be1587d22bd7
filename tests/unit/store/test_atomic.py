import errno
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from automl.store import atomic
from automl.store.atomic import (
    replace_folder,
    staged_file,
    staged_folder,
    write_bytes,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_written_content_is_read_back_and_nothing_else_is_left(tmp_path):
    write_bytes(tmp_path / "new" / "deep" / "a.bin", b"\0\xff")
    write_text(tmp_path / "b.txt", "ä\r\n")
    write_json(tmp_path / "c.json", {"z": 1, "a": ["ä"]})
    assert (tmp_path / "new" / "deep" / "a.bin").read_bytes() == b"\0\xff"
    assert (tmp_path / "b.txt").read_bytes() == "ä\r\n".encode()
    assert list(json.loads((tmp_path / "c.json").read_text())) == ["z", "a"]
    assert names(tmp_path) == ["b.txt", "c.json", "new"]


def test_files_get_the_permissions_of_the_umask(tmp_path):
    write_text(tmp_path / "a", "a")
    (tmp_path / "plain").write_text("a")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_raise_while_writing_keeps_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "old")

    def fail_after_a_partial_write():
        with staged_file(target) as staged:
            staged.write_text("half of the n")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_after_a_partial_write()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_json_that_does_not_exist_keeps_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert (tmp_path / "a.json").read_text() == "1\n"


def test_content_is_synced_before_the_rename(tmp_path, monkeypatch):
    calls = []
    real_sync, real_replace = atomic.sync, Path.replace

    def sync(path):
        calls.append(("sync", path.name))
        real_sync(path)

    def replace(path, target):
        calls.append(("replace", target.name))
        return real_replace(path, target)

    monkeypatch.setattr(atomic, "sync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    write_text(tmp_path / "a.txt", "a")
    assert [name for name, _ in calls] == ["sync", "replace", "sync"]
    assert calls[2] == ("sync", tmp_path.name)


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path):
    final = tmp_path / "bundles" / "best"
    for text in ("first", "second"):
        with staged_folder(final) as staged:
            (staged / "sub").mkdir()
            (staged / "sub" / f"{text}.txt").write_text(text)
    assert names(final / "sub") == ["second.txt"]
    assert names(tmp_path / "bundles") == ["best"]


def test_a_raise_while_filling_a_folder_keeps_the_old_one(tmp_path):
    final = tmp_path / "best"
    final.mkdir()
    (final / "old.txt").write_text("old")

    def fail():
        with staged_folder(final) as staged:
            (staged / "new.txt").write_text("new")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert names(final) == ["old.txt"]
    assert names(tmp_path) == ["best"]


def make_pair(tmp_path: Path) -> tuple[Path, Path]:
    staged, final = tmp_path / "staged", tmp_path / "final"
    for folder in (staged, final):
        folder.mkdir()
        (folder / "who.txt").write_text(folder.name)
    return staged, final


def test_folders_are_replaced_where_names_cannot_be_swapped(tmp_path, monkeypatch):
    staged, final = make_pair(tmp_path)
    monkeypatch.setattr(atomic, "_swapped", lambda *_: False)
    replace_folder(staged, final)
    assert (final / "who.txt").read_text() == "staged"
    assert names(tmp_path) == ["final"]


def test_the_old_folder_is_back_when_the_second_rename_fails(tmp_path, monkeypatch):
    staged, final = make_pair(tmp_path)
    monkeypatch.setattr(atomic, "_swapped", lambda *_: False)
    real_rename = Path.rename

    def rename(path, target):
        if path == staged and target == final:
            raise OSError(errno.ENOTEMPTY if final.exists() else errno.EIO, "refused")
        return real_rename(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="refused"):
        replace_folder(staged, final)
    assert (final / "who.txt").read_text() == "final"


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "final").write_text("a file")
    (tmp_path / "staged").mkdir()
    with pytest.raises(NotADirectoryError):
        replace_folder(tmp_path / "staged", tmp_path / "final")
    assert (tmp_path / "final").read_text() == "a file"


ENDLESS_WRITER = """
import sys
from pathlib import Path
from automl.store.atomic import staged_folder, write_text
root = Path(sys.argv[1])
print("ready", flush=True)
number = 0
while True:
    number += 1
    write_text(root / "file.txt", f"{number % 10}" * 20000)
    with staged_folder(root / "folder") as staged:
        for name in "abc":
            (staged / name).write_text(str(number))
"""


@pytest.mark.parametrize("delay", [0.02, 0.05, 0.11])
def test_a_kill_leaves_whole_files_and_whole_folders(tmp_path, delay):
    write_text(tmp_path / "file.txt", "0" * 20000)
    with staged_folder(tmp_path / "folder") as staged:
        for name in "abc":
            (staged / name).write_text("0")
    writer = subprocess.Popen(
        [sys.executable, "-c", ENDLESS_WRITER, str(tmp_path)], stdout=subprocess.PIPE
    )
    writer.stdout.readline()
    time.sleep(delay)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    text = (tmp_path / "file.txt").read_text()
    assert len(text) == 20000
    assert len(set(text)) == 1
    assert names(tmp_path / "folder") == ["a", "b", "c"]
    assert len({(tmp_path / "folder" / name).read_text() for name in "abc"}) == 1
    left = [name for name in names(tmp_path) if name not in ("file.txt", "folder")]
    assert all(name.startswith(".") and name.endswith(atomic.STAGED_SUFFIX) for name in left)


def test_two_writers_of_one_folder_leave_one_whole_folder(tmp_path):
    script = ENDLESS_WRITER.replace("while True", "while number < 40").replace(
        'write_text(root / "file.txt", f"{number % 10}" * 20000)', "pass"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert names(tmp_path) == ["folder"]
    assert {path.read_text() for path in (tmp_path / "folder").iterdir()} == {"40"}


def test_symbolic_links_in_a_folder_are_kept_and_not_followed(tmp_path):
    with staged_folder(tmp_path / "folder") as staged:
        (staged / "dangling").symlink_to("nowhere")
    assert (tmp_path / "folder" / "dangling").readlink() == Path("nowhere")
