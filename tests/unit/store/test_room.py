"""A full disk, simulated and real."""

import errno
import os
import shutil
import subprocess

import pytest
import torch
from safetensors.torch import save_file

from automl.errors import StudyError
from automl.store.atomic import staged_file, staged_folder, write_json, write_text
from automl.store.room import is_disk_full, needing_room, no_room

TOLD = (
    "cannot be written: No space left on device; all that is finished is kept: "
    "make room and run the same command again"
)


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 64 KiB, where this user may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("no mount command here")
    command = [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_errors_of_the_system_are_known_by_their_code(code):
    assert is_disk_full(OSError(code, "in whatever language"))


def test_errors_of_libraries_are_known_by_their_words_or_their_cause():
    assert is_disk_full(RuntimeError("I/O error: No space left on device (os error 28)"))
    outer = RuntimeError("export failed")
    outer.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert is_disk_full(outer)
    assert is_disk_full(no_room("x"))


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "I/O error"), ValueError("space"), KeyError()]
)
def test_other_errors_are_not(error):
    assert not is_disk_full(error)


def test_only_a_full_disk_becomes_a_fault_of_the_study(tmp_path):
    with pytest.raises(PermissionError), needing_room(tmp_path):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(StudyError) as told, needing_room(tmp_path):
        raise OSError(errno.ENOSPC, "full")
    assert str(told.value) == f"{tmp_path}: {TOLD}"


def test_the_outermost_name_is_told(tmp_path):
    final = tmp_path / "whole"
    with (
        pytest.raises(StudyError) as told,
        staged_folder(final) as staged,
        staged_file(staged / "part"),
    ):
        raise OSError(errno.ENOSPC, "full")
    assert str(told.value) == f"{final}: {TOLD}"
    assert list(tmp_path.iterdir()) == []


def test_a_really_full_disk_is_told_and_leaves_what_was_there(small_disk):
    write_text(small_disk / "kept.txt", "before")
    with pytest.raises(StudyError) as told:
        write_text(small_disk / "kept.txt", "x" * 100_000)
    assert str(told.value) == f"{small_disk / 'kept.txt'}: {TOLD}"
    with pytest.raises(StudyError), staged_folder(small_disk / "tensors") as staged:
        save_file({"large": torch.zeros(100_000)}, staged / "model.safetensors")
    assert [path.name for path in small_disk.iterdir()] == ["kept.txt"]
    assert (small_disk / "kept.txt").read_text() == "before"
    write_json(small_disk / "small.json", {"fits": True})
