"""A search whose latencies are all measured by an agent, a process of its own on the loopback."""

import json

import pytest

from automl.measurement.processor import cpu_model

TOKEN = "0123456789abcdef" * 2
HEAVY = ("torch", "ray", "timm", "pyarrow", "optuna", "albumentations")


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


@pytest.mark.slow
def test_an_agent_times_a_whole_study_which_goes_on_with_it_alone(
    cli, start_cli, tiny_space, token_file, tmp_path
):
    text = tiny_space.read_text().replace("max_drop: 1,", "max_drop: 1, rungs: [per_channel],")
    tiny_space.write_text(
        text.replace("  epochs: 1\n", "  epochs: 1\n  teacher_cache: {views: 2}\n")
    )
    agent = start_cli("agent", "serve", "--token-file", token_file, blocked=HEAVY)
    url = agent.stdout.readline().split()[-1]
    words = ["search", "--space", tiny_space, "--out", "study", "--local", "--epochs", 1]
    words += ["--target", url, "--token-file", "token"]
    done = cli(*words, "--trials", 2, blocked=["ray"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"latency    by the agent {url} ({cpu_model()}), one at a time" in done.stdout

    assert "teacher cache 1 view;" in done.stdout, "nothing is augmented"

    study = tmp_path / "study"
    assert not (study / "teaching").exists(), "no student learns any more"
    reference = json.loads((study / "reference" / "latency.json").read_text())
    assert reference["cpu"] == cpu_model()
    files = [path for path in study.rglob("*") if path.is_file()]
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]

    agent.terminate()
    told = agent.stdout.read()
    gates = told.count("2 entries, 1 threads, 3 rounds")
    assert told.startswith("1 entries, 1 threads, 3 rounds"), "the reference, before all others"
    assert gates >= 4, "two gates, a pruning and an INT8 form at least"
    assert told.count("done") > gates + 1, "and the ranking"

    again = cli(*words, "--trials", 3, blocked=["ray"])
    assert again.returncode == 2
    assert f"{url}: " in again.stderr
    assert "is an agent at work there?" in again.stderr
