"""Ray starts here whatever was left, or set, on the machine."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from automl.distributed import connection
from automl.distributed.temp_folder import temp_folder
from automl.errors import UsageError

START = """
from automl.distributed import connection
connection.prepare_environment()
connection.connect(None)
import ray
print("started", int(ray.cluster_resources()["CPU"]) >= 1, ray.nodes()[0]["NodeManagerAddress"])
ray.shutdown()
"""
WITH_DASHBOARD = """
import urllib.request
from automl.distributed import connection
connection.prepare_environment()
url = connection.connect(None, dashboard=True)
print("dashboard", url, urllib.request.urlopen(url, timeout=60).status)
import ray
ray.shutdown()
"""


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for the names of sockets, which pytest's own does not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def start(environment: dict[str, str], program: str = START) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.ray
def test_another_cluster_of_this_machine_is_left_alone(environment, short_folder):
    (short_folder / "ray").mkdir()
    # What a cluster that was killed leaves behind: Ray joins it where it is not told otherwise.
    (short_folder / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    assert "started True 127.0.0.1" in start({**environment, "RAY_TMPDIR": str(short_folder)})


@pytest.mark.slow
@pytest.mark.ray
def test_a_long_folder_for_temporary_files_is_no_hindrance(environment, tmp_path):
    long_folder = tmp_path / ("x" * 80)
    long_folder.mkdir()
    assert "started True 127.0.0.1" in start({**environment, "TMPDIR": str(long_folder)})


@pytest.mark.slow
@pytest.mark.ray
def test_the_dashboard_is_on_the_loopback_alone(environment):
    printed = start(environment, WITH_DASHBOARD)
    assert re.search(r"^dashboard http://127\.0\.0\.1:\d+ 200$", printed, re.M), printed


def test_rays_own_folder_is_kept_where_it_serves(monkeypatch, short_folder):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(short_folder))
    assert temp_folder() is None


@pytest.mark.parametrize("spoilt", ["too long", "a file"])
def test_another_folder_is_taken_where_rays_own_does_not_serve(monkeypatch, short_folder, spoilt):
    folder = short_folder / ("x" * 60) if spoilt == "too long" else short_folder / "file"
    if spoilt == "a file":
        folder.write_text("")
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    found = temp_folder()
    assert found is not None
    assert short_folder not in found.parents
    assert len(str(found)) <= 36


class Started:
    """Stands in for `ray.init`: keeps how it was called."""

    def __init__(self, dashboard_url):
        self.dashboard_url = dashboard_url

    def __call__(self, **how):
        self.how = how
        return self


@pytest.fixture
def started(monkeypatch):
    import ray

    double = Started("127.0.0.1:8265")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", double)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(connection, "_check_answers", lambda _address: None)
    return double


@pytest.mark.parametrize(
    ("address", "told"), [("10.0.0.7:6379", "10.0.0.7:6379"), ("auto", None), ("ray://h:1", None)]
)
def test_what_runs_on_a_cluster_that_is_joined_can_tell_it_from_others(started, address, told):
    assert connection.connect(address) == "http://127.0.0.1:8265"
    assert started.how["runtime_env"]["env_vars"].get("RAY_ADDRESS") == told


def test_groups_are_refused_where_nobody_would_free_their_workers(started):
    started.dashboard_url = None
    with pytest.raises(UsageError, match=r"train\.workers: given 2 or more; .* no dashboard"):
        connection.connect("10.0.0.7:6379", worker_groups=True)
    assert connection.connect("10.0.0.7:6379") is None
