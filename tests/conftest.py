"""Fixtures of all suites: a tiny experiment, and the real command line in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TINY_SPACE = """
task: segmentation
data:
  source: builtin:surface-defects
  size: [32, 32]
space:
  encoder: mobilenetv3_small_050
  decoder: fpn_lite
  decoder_width: {choice: [16, 24], default: 16}
  learning_rate: {float: [1e-4, 1e-2], log: true, default: 1e-3}
  augmentation: {choice: [none, light]}
  batch_size: 16
search: {trials: 3}
train: {epochs: 2}
compress:
  winners: 1
  students: [{pruning_ratio: 0.3}]
  epochs: 1
  calibration_images: 4
  int8: {max_drop: 1, max_class_drop: 1}  # so little training says nothing about accuracy
target: {rounds: 3}
export: {golden_samples: 2}
"""


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset cache for the session, apart from the user's."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tiny_space(tmp_path: Path) -> Path:
    """An experiment file that runs in seconds."""
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY_SPACE)
    return file


@pytest.fixture
def tiny_dataset(tmp_path: Path) -> Path:
    """A dataset's folder with a few noisy images of two classes."""
    root = tmp_path / "data"
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for index in range(count):
            image = rng.integers(0, 255, (40, 50, 3), np.uint8)
            mask = (image[..., 0] > 127).astype(np.uint8)
            Image.fromarray(image).save(root / split / "images" / f"{index}.png")
            Image.fromarray(mask).save(root / split / "masks" / f"{index}.png")
    (root / "dataset.yaml").write_text("name: tiny\ntask: segmentation\nclasses: [low, high]\n")
    return root


@pytest.fixture(scope="session")
def environment(cache: Path) -> dict[str, str]:
    """The environment of the processes that tests start: one thread, no token in the home."""
    own = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return {
        **own,
        "AUTOML_CACHE": str(cache),
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "disabled",
        "COLUMNS": "100",
    }


Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(environment: Mapping[str, str], tmp_path: Path) -> Cli:
    """Run the command line to its end; `blocked` names modules that must not be imported."""

    def run(
        *words: object, blocked: Sequence[str] = (), timeout: float = 280
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command(blocked), *map(str, words)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def start_cli(
    environment: Mapping[str, str], tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command line in the background; it is killed after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: object, blocked: Sequence[str] = ()) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*command(blocked), *map(str, words)],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def command(blocked: Sequence[str] = ()) -> list[str]:
    """The words that start the command line in a Python that refuses to import some modules."""
    block = "".join(f"sys.modules[{name!r}] = None; " for name in blocked)
    return [
        sys.executable,
        "-c",
        f"import sys; sys.argv[0] = 'automl'; {block}from automl.cli.main import main; main()",
    ]
