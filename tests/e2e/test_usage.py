"""What a user sees who asks for help, or asks for what cannot be."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

AWS = Path(__file__).parents[2] / "cluster" / "aws.yaml"


def test_help_imports_neither_torch_nor_ray():
    program = (
        "import sys\nfrom automl.cli.main import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'timm', 'numpy', 'pydantic', 'onnxruntime'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "search" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["search"],
        ["plan"],
        ["train"],
        ["pretrain"],
        ["predict"],
        ["reproduce"],
        ["data"],
        ["data", "check"],
        ["data", "import"],
        ["space"],
        ["space", "check"],
        ["bundle"],
        ["bundle", "verify"],
        ["bundle", "pack"],
        ["bundle", "sign"],
        ["serve"],
        ["benchmark"],
        ["evaluate"],
        ["compare"],
        ["cross-validate"],
        ["explain"],
        ["agent"],
        ["agent", "serve"],
    ],
)
def test_a_command_without_arguments_shows_its_help(cli, words):
    done = cli(*words)
    assert "Usage: automl" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["search", "--space", "quikstart.yaml"], "did you mean quickstart?"),
        (["search", "--space", "quickstart.yaml", "--data", "/nowhere/at/all"], "/nowhere/at/all"),
        (["search", "--space", "quickstart.yaml", "--time-budget", "soon"], "soon"),
        (["search", "--space", "quickstart.yaml", "--local", "--address", "auto"], "--address"),
        (["plan", "--space", "quickstart", "--nodes", "0"], "--nodes: given '0'"),
        (["plan", "--space", "quickstart", "--cluster", "/nowhere"], "/nowhere: cannot be read"),
        (["plan", "--space", "quickstart", "--cluster", AWS], "--speedup: missing"),
        (["plan", "--space", "quickstart", "--address", "auto"], "only with --cluster"),
        (["plan", "--space", "quickstart", "--json", "."], "--json: given ., a folder"),
        (["bundle", "verify", "/nowhere"], "/nowhere"),
        (["predict", "/nowhere", "a.jpg", "--out", "m.png"], "/nowhere"),
        (["benchmark", "/nowhere"], "/nowhere: no bundle: no such folder"),
        (["evaluate", "/nowhere", "--data", "."], "/nowhere: no bundle: no such folder"),
        (["compare", "/nowhere", "/nowhere", "--data", "."], "/nowhere: no bundle"),
        (["agent", "serve", "--token-file", "/nowhere"], "/nowhere: no such token file"),
        (["reproduce", "/nowhere", "0"], "/nowhere: holds no study"),
        (["data", "check", "/nowhere"], "/nowhere"),
        (["data", "import", "/nowhere", "there"], "/nowhere"),
        (["space", "check", "missing.yaml"], "missing.yaml"),
    ],
)
def test_what_cannot_be_is_told_with_exit_code_2(cli_here, words, told):
    done = cli_here(*words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_every_fault_of_a_space_is_told_at_once(cli_here, tmp_path):
    file = tmp_path / "wrong.yaml"
    file.write_text(
        "space:\n  encodr: resnet18\n  learning_rate: {float: [1e-2, 1e-4]}\n"
        "search: {trials: 0}\nobjectives: {miou: maximise}\n"
    )
    done = cli_here("space", "check", file)
    assert done.returncode == 2
    for part in ("wrong.yaml:2", "encoder", "learning_rate", "trials", "maximize"):
        assert part in done.stderr


def wrong_size(root):
    Image.new("L", (10, 10)).save(root / "train" / "masks" / "1.png")
    return "1.png"


def label_out_of_range(root):
    Image.new("L", (50, 40), 7).save(root / "train" / "masks" / "2.png")
    return "2.png"


def missing_mask(root):
    (root / "val" / "masks" / "0.png").unlink()
    return "0.png"


def unreadable_file(root):
    path = root / "train" / "images" / "3.png"
    path.write_bytes(path.read_bytes()[:100])
    return "3.png"


def empty_split(root):
    for path in (root / "test").rglob("*.png"):
        path.unlink()
    return "test"


def class_absent_from_train(root):
    (root / "dataset.yaml").write_text("classes: [low, high, never]\n")
    return "never"


SPOILT = [
    wrong_size,
    label_out_of_range,
    missing_mask,
    unreadable_file,
    empty_split,
    class_absent_from_train,
]


@pytest.mark.parametrize(
    ("command", "spoil"),
    [*(("check", spoil) for spoil in SPOILT), ("search", unreadable_file), ("search", empty_split)],
)
def test_a_fault_in_the_data_is_told_before_any_training(
    cli_here, tiny_dataset, tmp_path, spoil, command
):
    root = tiny_dataset
    named = spoil(root)
    words = ["data", "check", root]
    if command == "search":
        words = ["search", "--space", "quickstart.yaml", "--data", root, "--out", "study"]
    done = cli_here(*words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert named in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "study" / "journal.jsonl").exists()
