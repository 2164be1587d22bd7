"""Fixtures of all suites: a tiny experiment, and the real command line in a process of its own."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from automl.cli.main import main

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


@pytest.fixture(scope="session", autouse=True)
def equal_share() -> Iterator[None]:
    """Ray's workers get the cores as other tests do, who would leave them little else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        yield


@pytest.fixture(scope="session")
def environment(cache: Path, equal_share: None) -> dict[str, str]:
    """The environment of the processes that tests start: one thread, no token in the home."""
    own = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return {
        **own,
        "AUTOML_CACHE": str(cache),
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "disabled",
        "COLUMNS": "100",
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


@pytest.fixture
def free_port() -> int:
    """A port of this machine that nobody listens on."""
    return _free_port()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on this machine that speaks as S3 does; its address."""
    port = _free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with (tmp_path_factory.mktemp("s3") / "log").open("wb") as log:
        words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            _wait_for_answer(port, process)
            yield endpoint
        finally:
            process.kill()
            process.wait()


def _wait_for_answer(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the S3 server does not answer")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Credentials of nobody, and no look for better ones."""
    own = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    return own


@pytest.fixture
def bucket(
    s3_server: str, aws: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> str:
    """The URL of a new bucket of the server."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server)
    aws["AWS_ENDPOINT_URL_S3"] = s3_server
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    urllib.request.urlopen(urllib.request.Request(f"{s3_server}/{name}", method="PUT")).close()
    return f"s3://{name}"


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
def cli_here(
    environment: Mapping[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Cli:
    """The command line in this process, exit codes included: for what is refused before any work.

    A process of its own would import torch for each test.
    """
    for name in ("AUTOML_CACHE", "COLUMNS"):
        monkeypatch.setenv(name, environment[name])
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # as it is set there; so it is taken back
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        given = ["automl", *map(str, words)]
        monkeypatch.setattr(sys, "argv", given)
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        told = capsys.readouterr()
        return subprocess.CompletedProcess(given, int(left.value.code or 0), told.out, told.err)

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
