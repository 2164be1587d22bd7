import io
import signal
import sys
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from automl.cli import main as entry
from automl.cli import search as command
from automl.cli.interruption import InterruptibleProgress, interruptible
from automl.cli.stopping import to_continue
from automl.errors import StudyError, UsageError
from automl.records import DatasetInfo, Normalisation
from automl.space.experiment import Experiment
from automl.store.layout import StudyFolder

INFO = DatasetInfo(
    name="toy",
    task="segmentation",
    classes=("ground", "crack"),
    size=(96, 96),
    counts={"train": 2, "val": 1, "test": 1},
    class_pixel_share=(0.5, 0.5),
    class_images={"train": (2, 2), "val": (1, 1), "test": (1, 1)},
    normalisation=Normalisation(mean=(1.0, 1.0, 1.0), std=(1.0, 1.0, 1.0)),
    fingerprint="f" * 64,
)


@pytest.mark.parametrize(("error", "code"), [(UsageError("a typo"), 2), (StudyError("a fault"), 1)])
def test_errors_on_purpose_have_an_exit_code_and_no_traceback(monkeypatch, capsys, error, code):
    def fail():
        raise error

    monkeypatch.setattr(entry, "app", fail)
    with pytest.raises(SystemExit) as caught:
        entry.main()
    assert caught.value.code == code
    assert capsys.readouterr().err == f"error: {error}\n"


def test_faults_of_the_steps_are_told_with_their_lines_and_exit_code_2(
    monkeypatch, capsys, tmp_path
):
    file = tmp_path / "my.yaml"
    file.write_text(
        "space:\n  accumulate: {choice: [0, 2]}\n  clip_norm: nine\n"
        "  warmup_epochs: {int: [-1, 3]}\n"
        "train:\n  clip_norm: -1\n"
    )
    monkeypatch.setattr(sys, "argv", ["automl", "space", "check", str(file)])
    with pytest.raises(SystemExit) as caught:
        entry.main()
    assert caught.value.code == 2
    told = capsys.readouterr().err
    for line, fault in (
        (2, "space.accumulate.choice[0]: given 0; allowed: a whole number >= 1"),
        (3, 'space.clip_norm: given "nine"; allowed: a number > 0, or none; did you mean none?'),
        (4, "space.warmup_epochs.int[0]: given -1; allowed: a number >= 0"),
        (6, "train.clip_norm: given -1; allowed: a number > 0, or none"),
    ):
        assert f"{file}:{line}: {fault}" in told


def test_the_command_to_continue_with_can_be_pasted(monkeypatch):
    words = ["search", "--space", "my space.yaml", "--overwrite", "--out", "a&b"]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/automl", *words])
    assert to_continue() == " To continue: automl search --space 'my space.yaml' --out 'a&b'"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_is_kept_and_the_handlers_are_given_back(number):
    before = signal.getsignal(number)
    with interruptible() as interruption:
        interruption.check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        shown = []
        progress = InterruptibleProgress(SimpleNamespace(say=shown.append), interruption)
        with pytest.raises(KeyboardInterrupt):
            progress.say("too late")
        assert shown == []
    assert signal.getsignal(number) is before


def test_an_interrupted_search_says_how_to_continue(monkeypatch, capsys, tiny_space, tmp_path):
    def interrupted(_experiment, root, where):
        assert (root, where.local, where.overwrite) == (tmp_path / "out", True, False)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_run", interrupted)
    monkeypatch.setattr(sys, "argv", ["automl", "search", "--space", "x.yaml", "--local"])
    with pytest.raises(typer.Exit) as caught:
        command.search(space=str(tiny_space), out=tmp_path / "out", local=True)
    assert caught.value.exit_code == 130
    told = capsys.readouterr().err
    assert "To continue: automl search --space x.yaml --local\n" in told
    assert "--overwrite" in told


def test_options_replace_what_the_file_says(monkeypatch, tiny_space):
    seen = []
    monkeypatch.setattr(command, "_run", lambda *given: seen.append(given))
    command.search(
        space=str(tiny_space),
        data="my/data",
        trials=2,
        epochs=9,
        time_budget="1h",
        seed=5,
        workers_per_trial=3,
    )
    ((experiment, root, where),) = seen
    assert experiment.data.source.endswith("my/data")
    assert (experiment.search.trials, experiment.search.seed) == (2, 5)
    assert experiment.search.time_budget_s == 3600
    assert (experiment.train.epochs, experiment.train.workers) == (9, 3)
    assert str(root) == "results/tiny"
    assert (where.local, where.address, where.overwrite) == (False, None, False)


def test_local_and_a_cluster_exclude_each_other(tiny_space):
    with pytest.raises(UsageError, match="--local and --address exclude each other"):
        command.search(space=str(tiny_space), local=True, address="auto")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"device": "cuda"}, "torch sees no CUDA device"),
        ({"workers": 2}, "allowed without Ray: 1"),
    ],
)
def test_a_search_that_cannot_run_keeps_the_old_study(monkeypatch, tmp_path, change, told):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    dataset = SimpleNamespace(info=INFO, warnings=())
    monkeypatch.setattr(command, "_dataset", lambda *_: dataset)
    plain = {"space": {"encoder": "test_resnet"}}
    old = Experiment.from_json(plain)
    root = tmp_path / "out"
    folder = StudyFolder.open_or_create(root, old.to_json(), old.key())
    folder.journal_file.write_text("what was found")
    new = Experiment.from_json({**plain, "train": change})
    where = command._Where(local=True, address=None, overwrite=True)
    for place in (str(root), str(tmp_path / "new")):
        with pytest.raises(UsageError, match=told):
            command._run(new, place, where)
    assert folder.journal_file.read_text() == "what was found"
    assert not (tmp_path / "new").exists()


def test_a_cluster_in_the_environment_is_no_hindrance_to_local(monkeypatch, tiny_space):
    seen = []
    monkeypatch.setattr(command, "_run", lambda *given: seen.append(given))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    words = ["search", "--space", str(tiny_space), "--local"]
    done = CliRunner().invoke(entry.app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    ((_, _, where),) = seen
    assert (where.local, where.address) == (True, None)


def test_a_terminal_without_a_letter_is_told_its_number(monkeypatch):
    terminal = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(terminal, encoding="ascii"))
    monkeypatch.setattr(entry, "app", lambda: print("\u00dcbergang", flush=True))
    entry.main()
    assert terminal.getvalue() == b"\\xdcbergang\n"


def test_help_shows_extras_in_their_brackets():
    """Rich takes what is in brackets for markup."""
    shown = CliRunner().invoke(entry.app, ["explain", "--help"]).output
    assert "pip install 'automl[explain]'" in " ".join(shown.split())
