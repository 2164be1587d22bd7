import signal
import sys
from types import SimpleNamespace

import pytest
import typer

from automl.cli import main as entry
from automl.cli import search as command
from automl.cli.interruption import InterruptibleProgress, interruptible
from automl.errors import StudyError, UsageError


@pytest.mark.parametrize(("error", "code"), [(UsageError("a typo"), 2), (StudyError("a fault"), 1)])
def test_errors_on_purpose_have_an_exit_code_and_no_traceback(monkeypatch, capsys, error, code):
    def fail():
        raise error

    monkeypatch.setattr(entry, "app", fail)
    with pytest.raises(SystemExit) as caught:
        entry.main()
    assert caught.value.code == code
    assert capsys.readouterr().err == f"error: {error}\n"


def test_the_command_to_continue_with_can_be_pasted(monkeypatch):
    words = ["search", "--space", "my space.yaml", "--overwrite", "--out", "a&b"]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/automl", *words])
    assert command._same_command() == "automl search --space 'my space.yaml' --out 'a&b'"


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
