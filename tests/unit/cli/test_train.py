import pytest
from typer.testing import CliRunner

from automl.cli.main import app
from automl.errors import UsageError

TORCHRUN = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}


def refusal_of(words, tmp_path, environment=None):
    words = ["train", "--out", str(tmp_path / "out"), *words]
    done = CliRunner().invoke(app, words, env={} if environment is None else environment)
    assert isinstance(done.exception, UsageError), done.output
    assert not (tmp_path / "out").exists()
    return str(done.exception)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--space", "quickstart.yaml", "--params", "gama=1"], "did you mean gamma?"),
        (
            ["--space", "quickstart.yaml", "--params", "warmup_epochs=-1"],
            "--params: warmup_epochs: given '-1'; allowed: a number >= 0",
        ),
        (
            ["--space", "quickstart.yaml", "--params", "accumulate=0,clip_norm=non"],
            "--params: clip_norm: given 'non'; allowed: a number > 0, or none",
        ),
        (["--space", "quickstart.yaml", "--ewc-lambda", "1"], "go with --continue-from"),
        (["--space", "quickstart.yaml", "--trial", "a/1"], "exclude each other"),
        (["--trial", "nowhere/4"], "nowhere is no study"),
        (["--continue-from", "/nowhere/b"], "nothing to continue from"),
        (["--continue-from", "/nowhere/b", "--params", "encoder=resnet18"], "weights decide that"),
        (["--space", "quickstart.yaml", "--params", "encoder=resnet17"], "timm has no model"),
    ],
)
def test_what_cannot_be_is_told_before_any_work(tmp_path, words, told):
    assert told in refusal_of(words, tmp_path)


def test_torchrun_alone_says_how_many_processes_there_are(tmp_path):
    words = ["--space", "quickstart.yaml", "--workers-per-trial", "2"]
    place = {**TORCHRUN, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    assert "--nproc_per_node says how many" in refusal_of(words, tmp_path, place)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--out", "encoder.pth"], "ends in .safetensors"),
        (["--out", "e.safetensors", "--temperature", "0"], "allowed: > 0"),
        (["--out", "e.safetensors", "--encoder", "resnet17"], "timm has no model"),
    ],
)
def test_what_cannot_be_pretrained_is_told_before_any_work(tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["pretrain", "--space", "quickstart.yaml", *words])
    assert isinstance(done.exception, UsageError), done.output
    assert told in str(done.exception)
    assert not list(tmp_path.iterdir())
