"""Files as Ray carries them: to machines that have no file system in common with this one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import ray

#: Files by name, one reference each, so that who receives them fetches one after another.
Carried = Mapping[str, ray.ObjectRef]


def sent(artifacts: Mapping[str, Path]) -> Carried:
    """References to the contents of files."""
    return {name: ray.put(artifact.read_bytes()) for name, artifact in artifacts.items()}


@contextmanager
def received(files: Carried) -> Iterator[dict[str, Path]]:
    """The files in a folder of their own, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="automl-timed-") as scratch:
        artifacts = {}
        for index, (name, content) in enumerate(files.items()):
            artifacts[name] = Path(scratch) / f"{index}.onnx"
            artifacts[name].write_bytes(ray.get(content))
        yield artifacts
