"""An agent in a process of its own, and the token that it knows."""

from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

#: What the device that serves need not have.
HEAVY = ("torch", "torchvision", "ray", "timm", "onnx", "pyarrow", "optuna", "albumentations")


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text("0123456789abcdef" * 2)
    path.chmod(0o600)
    return path


@pytest.fixture
def start_agent(start_cli, token_file):
    def start(*words):
        process = start_cli("agent", "serve", "--token-file", token_file, *words, blocked=HEAVY)
        url = process.stdout.readline().split()[-1]
        parts = urlsplit(url)
        return SimpleNamespace(process=process, url=url, address=(parts.hostname, parts.port))

    return start


@pytest.fixture
def agent(start_agent):
    return start_agent()
