"""Copies studies to object storage, again and again: `python copy_studies.py FROM TO --every 300`.

TO is what pyarrow reads: s3://bucket/path, gs://bucket/path, abfs://container@account..., or
file:///folder. A file is copied when its size or its time differs from what was copied last;
nothing is ever removed there. A study is best restored by copying its folder back.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from pyarrow import fs

Stamp = tuple[int, int]


def changed_files(source: Path, copied: dict[str, Stamp]) -> dict[str, Stamp]:
    """Size and time of each file that is not yet copied as it is; staged files are left out."""
    found: dict[str, Stamp] = {}
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        hidden = any(part.startswith(".") for part in Path(name).parts)
        if hidden or path.is_symlink() or not path.is_file():
            continue
        status = path.stat()
        stamp = (status.st_size, status.st_mtime_ns)
        if copied.get(name) != stamp:
            found[name] = stamp
    return found


def copy_once(source: Path, target: fs.FileSystem, root: str, copied: dict[str, Stamp]) -> int:
    """Copy what has changed; how many files that were."""
    count = 0
    for name, stamp in changed_files(source, copied).items():
        destination = f"{root}/{name}"
        try:
            content = (source / name).read_bytes()
        except FileNotFoundError:
            continue  # removed, or moved into place, since it was listed
        target.create_dir(destination.rpartition("/")[0], recursive=True)
        with target.open_output_stream(destination) as stream:
            stream.write(content)
        copied[name] = stamp
        count += 1
    return count


def main() -> None:
    """Copy once, or every so many seconds; a fault is told, and the next round tries again."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target")
    parser.add_argument("--every", type=float, metavar="SECONDS", help="default: copy once")
    words = parser.parse_args()
    target, root = fs.FileSystem.from_uri(words.target)
    copied: dict[str, Stamp] = {}
    while True:
        try:
            count = copy_once(words.source, target, root, copied)
            print(f"{time.strftime('%F %T')} copied {count} files", flush=True)
        except OSError as fault:
            print(f"{time.strftime('%F %T')} {fault}", file=sys.stderr, flush=True)
            if words.every is None:
                sys.exit(1)
        if words.every is None:
            return
        time.sleep(words.every)


if __name__ == "__main__":
    main()
