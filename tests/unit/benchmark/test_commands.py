"""The real command line: a table and a Parquet file, here and through an agent."""

import pyarrow.parquet as pq
import pytest

QUICK = ("--rounds", "3")


def test_bundles_are_timed_side_by_side_without_torch(cli, pristine_bundle, tmp_path):
    done = cli(
        "benchmark",
        *(pristine_bundle, pristine_bundle),
        *("--batch", "1,2", "--runtime", "onnxruntime,torch", "--out", "times.parquet", *QUICK),
        blocked=("torch", "ray"),
    )
    assert done.returncode == 0, done.stderr
    assert "note: torch: a bundle holds an ONNX graph" in done.stdout
    assert "bundle (2)  onnxruntime        1      2" in done.stdout
    rows = pq.read_table(tmp_path / "times.parquet").to_pylist()
    assert [(row["bundle"], row["batch"]) for row in rows] == [
        ("bundle", 1),
        ("bundle (2)", 1),
        ("bundle", 2),
        ("bundle (2)", 2),
    ]
    assert all(0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] for row in rows)
    assert rows[0]["target"] == "here"


def test_an_agent_measures_for_another_machine(cli, agent, token_file, pristine_bundle, tmp_path):
    remote = ("--target", agent.url, "--token-file", token_file)
    done = cli("benchmark", pristine_bundle, *remote, *QUICK, "--out", "times.parquet")
    assert done.returncode == 0, done.stderr
    (row,) = pq.read_table(tmp_path / "times.parquet").to_pylist()
    assert row["target"] == agent.url
    assert row["cpu_ratio"] == row["wall_ratio"] == 1.0


def test_a_wrong_token_ends_with_exit_code_2(cli, agent, pristine_bundle, tmp_path):
    other = tmp_path / "other"
    other.write_text("f" * 32)
    other.chmod(0o600)
    done = cli("benchmark", pristine_bundle, "--target", agent.url, "--token-file", other)
    assert done.returncode == 2
    assert f"error: {agent.url}: wrong token" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--threads", "0"), "--threads: numbers of 1 to 1024 between commas, got '0'"),
        (("--threads", "999"), "--threads: at most the"),
        (("--batch", "1,x"), "--batch: numbers of 1 to 1024 between commas, got '1,x'"),
        (("--runtime", "tflite"), "allowed are onnxruntime, openvino, torch, got 'tflite'"),
        (("--runtime", ","), "--runtime: words between commas"),
        (("--runtime", "torch"), "no runtime to measure in"),
        (("--out", "times.csv"), "must end in .parquet, got times.csv"),
        (("--target", "tcp://localhost:1"), "--target and --token-file are given together"),
    ],
)
def test_what_cannot_be_is_told_with_exit_code_2(cli, pristine_bundle, words, told):
    done = cli("benchmark", pristine_bundle, *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_an_agent_that_cannot_listen_says_so(cli, agent, token_file):
    port = agent.url.rpartition(":")[2]
    done = cli("agent", "serve", "--token-file", token_file, "--port", port)
    assert done.returncode == 2
    assert f"error: cannot listen on 127.0.0.1, port {port}: " in done.stderr
