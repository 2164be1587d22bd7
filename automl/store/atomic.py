"""Writes that a kill or a power loss never leaves half done.

A file is written beside its destination under a hidden name, synced, renamed over the destination,
and the folder is synced: a reader sees the old content or the new one. All functions raise
StudyError where the disk has no room, otherwise OSError as the operating system gives it, and leave
the destination as it was.

What a killed writer leaves behind is a hidden sibling that ends in `STAGED_SUFFIX`; nothing reads
it and it may be deleted once no writer runs.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from automl.store.room import needing_room

#: How the names of unfinished files and folders end.
STAGED_SUFFIX = ".automl-tmp"

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_EXCHANGE_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV})


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; missing parent folders are made."""
    with staged_file(path) as staged:
        staged.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all, line ends as given."""
    write_bytes(path, text.encode())


def write_json(path: Path, plain: object) -> None:
    """Write JSON for people to read, see `json_text`."""
    write_text(path, json_text(plain))


def json_text(plain: object) -> str:
    """JSON for people to read: indented, keys in the order given, no NaN (ValueError)."""
    return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """Give a path to write to; it becomes `path` when the block ends, and goes when it raises.

    For writers that want a path of their own (parquet, safetensors, ONNX, PNG).
    """
    with needing_room(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = staged_path(path)
        try:
            yield staged
            sync(staged)
            staged.replace(path)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
        sync(path.parent)


@contextmanager
def staged_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to fill; it becomes `path` when the block ends, and goes on a raise."""
    with needing_room(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = staged_path(path)
        try:
            staged.mkdir()
            yield staged
            replace_folder(staged, path)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise


def replace_folder(staged: Path, final: Path) -> None:
    """Sync a finished folder and give it the name `final`; a folder of that name is removed.

    Both must lie on one file system. On Linux the two swap names in one step, so that `final`
    exists at every moment; where the file system cannot swap, the old folder is moved aside first
    and a kill between the two renames leaves it under a hidden name that ends in `STAGED_SUFFIX`.
    """
    sync_tree(staged)
    try:
        staged.rename(final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        old = staged if _swapped(staged, final) else _moved_aside(staged, final)
        sync(final.parent)
        shutil.rmtree(old)
    sync(final.parent)


def staged_path(path: Path) -> Path:
    """A hidden name beside `path` that no other writer uses; nothing is created."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{STAGED_SUFFIX}")


def remove_abandoned(folder: Path) -> None:
    """Remove what killed writers left unfinished below `folder`; no writer may be at work there."""
    for path in folder.rglob(f".*{STAGED_SUFFIX}"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have the operating system put one file, or the names in one folder, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """`sync` a folder and all that lies in it; symbolic links are not followed."""
    for parent, _, names in os.walk(folder):
        for name in names:
            file = Path(parent, name)
            if file.is_file() and not file.is_symlink():
                sync(file)
        sync(Path(parent))


def _swapped(staged: Path, final: Path) -> bool:
    """Swap two names in one step; False where the platform or the file system cannot.

    Source: renameat2(2), flag RENAME_EXCHANGE; Python has no wrapper of it.
    """
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    names = (os.fsencode(staged), os.fsencode(final))
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _EXCHANGE_UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(final))


def _moved_aside(staged: Path, final: Path) -> Path:
    """Replace in two renames, undone when the second fails; returns where the old folder is."""
    aside = staged_path(final)
    final.rename(aside)
    try:
        staged.rename(final)
    except OSError:
        aside.rename(final)
        raise
    return aside
