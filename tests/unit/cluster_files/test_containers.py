"""Image, compose file and the script for Slurm."""

import re
import shutil
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
CLUSTER = ROOT / "cluster"
COMPOSE = CLUSTER / "docker" / "compose.yaml"
DOCKERFILE = (CLUSTER / "docker" / "Dockerfile").read_text()
SBATCH = CLUSTER / "slurm" / "search.sbatch"


def services() -> dict:
    return yaml.safe_load(COMPOSE.read_text())["services"]


def test_what_the_image_copies_is_there_and_gets_past_the_ignore_file():
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.M):
        for source in line.split():
            assert (ROOT / source).exists()
            assert f"!{source}" in allowed


def test_the_image_is_the_projects_own_and_runs_as_no_root():
    instructions = [
        line.split()[0] for line in DOCKERFILE.splitlines() if re.match(r"[A-Z]+ ", line)
    ]
    assert {"HEALTHCHECK", "USER"} <= set(instructions)
    assert re.search(r"^USER 1000:100$", DOCKERFILE, re.M)
    assert "--constraint constraints.txt" in DOCKERFILE


def test_mounted_files_exist():
    for service in services().values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (COMPOSE.parent / source).exists(), source


def test_ports_are_published_on_the_loopback_alone():
    published = [port for service in services().values() for port in service.get("ports", [])]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_nodes_share_a_token_and_only_workers_train():
    nodes = services()
    for name in ("head", "worker", "probe"):
        assert nodes[name]["environment"]["RAY_AUTH_MODE"] == "token"
        assert nodes[name]["secrets"] == ["ray_token"]
        assert ("--num-cpus=0" in nodes[name]["command"]) == (name != "worker")
    assert '{"latency_probe":1}' in nodes["probe"]["command"]


def test_images_of_others_are_pinned():
    foreign = [s["image"] for s in services().values() if not s["image"].startswith("automl:")]
    assert all(re.search(r":v?\d+\.\d+\.\d+$", image) for image in foreign)


def test_the_script_for_slurm_is_sound():
    bash = shutil.which("bash")
    assert subprocess.run([bash, "-n", SBATCH], check=False).returncode == 0
    linter = shutil.which("shellcheck")
    if linter is not None:
        done = subprocess.run([linter, SBATCH], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    assert "# Fill in:" in SBATCH.read_text()
    assert "RAY_AUTH_MODE=token" in SBATCH.read_text()
