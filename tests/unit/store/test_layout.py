import json
from dataclasses import replace
from pathlib import Path

import pytest

from automl.errors import StudyError, UsageError
from automl.records import DatasetInfo, Normalisation
from automl.store.declaration import Declaration, read_declaration
from automl.store.journal import Journal
from automl.store.layout import StudyFolder
from automl.store.owned import OWNED

EXPERIMENT = {"task": "segmentation", "train": {"epochs": 12, "workers": 1}, "size": [96, 96]}
INFO = DatasetInfo(
    name="tiny",
    task="segmentation",
    classes=("background", "scratch"),
    size=(96, 128),
    counts={"train": 4, "val": 2, "test": 2},
    class_pixel_share=(0.9, 0.1),
    class_images={"train": (4, 2)},
    normalisation=Normalisation(mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0)),
    fingerprint="abc",
)


def declared(folder: StudyFolder) -> Declaration:
    return read_declaration(folder.experiment_file)


def fill(folder: StudyFolder) -> None:
    """Make everything that a finished study holds."""
    folder.record_dataset(INFO)
    with Journal(folder.journal_file) as journal:
        journal.append({"event": "started"})
    for parent in (
        folder.trial("0000-abc"),
        folder.candidate("c"),
        folder.bundle("best"),
        folder.root / "costs",
        folder.root / "finalists",
        folder.root / "reference",
        folder.proxies,
        folder.teaching,
        folder.root / "tensorboard",
        folder.root / "mlflow",
        folder.root / "ray",
        folder.beginning,
        folder.weights,
    ):
        parent.mkdir(parents=True)
        (parent / "file.bin").write_bytes(b"1")
    for file in (
        folder.optuna_file,
        folder.continual_file,
        folder.environment_file,
        folder.trials_table,
        folder.candidates_table,
        folder.report_file,
        folder.front_picture,
        folder.screening_file,
        folder.gpu_share_file,
    ):
        file.write_bytes(b"1")


def tree(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))


def test_a_new_study_is_found_again_with_what_was_declared(tmp_path):
    root = tmp_path / "results" / "study"
    folder = StudyFolder.open_or_create(root, EXPERIMENT, "key1")
    assert declared(folder) == Declaration(study_key="key1", experiment=EXPERIMENT)
    before = folder.experiment_file.read_bytes()
    assert StudyFolder.open_or_create(root, EXPERIMENT, "key1") == folder
    assert folder.experiment_file.read_bytes() == before


def test_an_empty_folder_and_one_with_hidden_files_can_become_a_study(tmp_path):
    (tmp_path / ".gitkeep").touch()
    StudyFolder.open_or_create(tmp_path, EXPERIMENT, "key1")
    assert (tmp_path / ".gitkeep").exists()


def test_a_different_study_is_refused_with_keys_values_and_ways_out(tmp_path):
    StudyFolder.open_or_create(tmp_path, EXPERIMENT, "key1")
    before = (tmp_path / "experiment.json").read_bytes()
    other = {"task": "segmentation", "train": {"epochs": 24, "workers": 1}, "size": [96, 128]}
    with pytest.raises(UsageError) as caught:
        StudyFolder.open_or_create(tmp_path, {**other, "seed": 3}, "key2")
    message = str(caught.value)
    for part in (
        str(tmp_path),
        "key1",
        "key2",
        "  train.epochs: was 12, now 24\n",
        "  size: was [96,96], now [96,128]\n",
        "  seed: was absent, now 3\n",
        "--out",
        "--overwrite",
    ):
        assert part in message
    assert "workers" not in message
    assert "task" not in message
    assert (tmp_path / "experiment.json").read_bytes() == before


def test_long_values_that_differ_late_are_still_named(tmp_path):
    StudyFolder.open_or_create(tmp_path, {"points": [*range(100), 1]}, "key1")
    with pytest.raises(UsageError, match=r"  points: was \[0,1,2.*\.\.\., now \[0,1,2"):
        StudyFolder.open_or_create(tmp_path, {"points": [*range(100), 2]}, "key2")


def test_many_differences_are_counted(tmp_path):
    StudyFolder.open_or_create(tmp_path, {f"k{n:02}": 1 for n in range(20)}, "key1")
    with pytest.raises(UsageError, match="k11: was 1, now 2\n  and 8 more\n"):
        StudyFolder.open_or_create(tmp_path, {f"k{n:02}": 2 for n in range(20)}, "key2")


def test_other_keys_of_equal_declarations_are_explained(tmp_path):
    StudyFolder.open_or_create(tmp_path, EXPERIMENT, "key1")
    with pytest.raises(UsageError, match="another version of automl"):
        StudyFolder.open_or_create(tmp_path, EXPERIMENT, "key2")


def test_what_the_key_leaves_out_is_updated(tmp_path):
    StudyFolder.open_or_create(tmp_path, EXPERIMENT, "key1")
    newer = {**EXPERIMENT, "time_budget": "2h"}
    folder = StudyFolder.open_or_create(tmp_path, newer, "key1")
    assert declared(folder).experiment == newer


def test_tuples_and_lists_are_the_same_declaration(tmp_path):
    folder = StudyFolder.open_or_create(tmp_path, EXPERIMENT, "key1")
    with Journal(folder.journal_file):
        # A write would need the lock that the journal holds.
        StudyFolder.open_or_create(tmp_path, {**EXPERIMENT, "size": (96, 96)}, "key1")


def test_an_update_is_refused_while_a_search_runs(tmp_path):
    folder = StudyFolder.open_or_create(tmp_path, EXPERIMENT, "key1")
    with Journal(folder.journal_file), pytest.raises(UsageError, match="another search"):
        StudyFolder.open_or_create(tmp_path, {**EXPERIMENT, "new": 1}, "key1")
    assert declared(folder).experiment == EXPERIMENT


def test_a_folder_with_other_files_is_refused_and_untouched(tmp_path):
    (tmp_path / "thesis.docx").write_text("dear")
    with pytest.raises(UsageError, match=r"not a study's.*thesis\.docx.*--out"):
        StudyFolder.open_or_create(tmp_path, EXPERIMENT, "key1")
    with pytest.raises(UsageError, match="holds no study"):
        StudyFolder(tmp_path).clear()
    assert tree(tmp_path) == ["thesis.docx"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UsageError, match="--out"):
        StudyFolder.open_or_create(tmp_path / "out", EXPERIMENT, "key1")
    with pytest.raises(UsageError, match="holds no study"):
        StudyFolder(tmp_path / "out").clear()
    assert (tmp_path / "out").read_text() == "a file"


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "mine"}', '{"study_key": 1}'])
def test_a_foreign_experiment_json_is_no_study(tmp_path, text):
    (tmp_path / "experiment.json").write_text(text)
    (tmp_path / "trials").mkdir()
    for act in (
        StudyFolder(tmp_path).clear,
        lambda: StudyFolder.open_or_create(tmp_path, EXPERIMENT, "key1"),
    ):
        with pytest.raises(UsageError, match=r"experiment\.json"):
            act()
    assert tree(tmp_path) == ["experiment.json", "trials"]


def test_clear_removes_all_that_a_study_writes(tmp_path):
    folder = StudyFolder.open_or_create(tmp_path / "study", EXPERIMENT, "key1")
    fill(folder)
    assert set(OWNED) == {path.name for path in folder.root.iterdir()} - {"journal.lock"}
    (folder.root / ".trials.parquet.1-ab.automl-tmp").write_text("left by a kill")
    folder.clear()
    assert tree(folder.root) == []
    StudyFolder.open_or_create(folder.root, {"other": 1}, "key2")


def test_clear_refuses_a_folder_with_files_of_the_user_and_removes_nothing(tmp_path):
    folder = StudyFolder.open_or_create(tmp_path, EXPERIMENT, "key1")
    fill(folder)
    (tmp_path / "notes.md").write_text("mine")
    (tmp_path / "trials2").mkdir()
    before = tree(tmp_path)
    with pytest.raises(UsageError, match=r"notes\.md, trials2"):
        folder.clear()
    assert tree(tmp_path) == before


def test_clear_never_follows_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("1")
    folder = StudyFolder.open_or_create(tmp_path / "study", EXPERIMENT, "key1")
    folder.trials.symlink_to(tmp_path / "elsewhere")
    folder.candidates.mkdir()
    (folder.candidates / "link").symlink_to(tmp_path / "elsewhere")
    folder.clear()
    assert tree(tmp_path) == ["elsewhere", "elsewhere/precious", "study"]


def test_clear_of_nothing_is_fine(tmp_path):
    StudyFolder(tmp_path / "missing").clear()
    StudyFolder(tmp_path).clear()
    assert not any(tmp_path.iterdir())


def test_clear_is_refused_while_a_search_runs(tmp_path):
    folder = StudyFolder.open_or_create(tmp_path, EXPERIMENT, "key1")
    fill(folder)
    before = tree(tmp_path)
    with Journal(folder.journal_file), pytest.raises(UsageError, match="another search"):
        folder.clear()
    assert tree(tmp_path) == before


def test_a_clearing_that_is_cut_short_leaves_a_study_without_results(tmp_path, monkeypatch):
    folder = StudyFolder.open_or_create(tmp_path, EXPERIMENT, "key1")
    fill(folder)
    with monkeypatch.context() as patch:

        def killed(*_):
            raise KeyboardInterrupt

        patch.setattr("automl.store.owned.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            folder.clear()
    assert not folder.journal_file.exists()
    StudyFolder(tmp_path).clear()
    assert tree(tmp_path) == []


def test_a_dataset_is_bound_once(tmp_path):
    folder = StudyFolder.open_or_create(tmp_path, EXPERIMENT, "key1")
    folder.record_dataset(INFO)
    folder.record_dataset(INFO)
    assert folder.dataset() == INFO
    with pytest.raises(UsageError) as caught:
        folder.record_dataset(replace(INFO, fingerprint="xyz", counts={"train": 5}))
    assert '  fingerprint: was "abc", now "xyz"' in str(caught.value)
    assert "  counts.train: was 4, now 5" in str(caught.value)
    assert folder.dataset() == INFO


@pytest.mark.parametrize("text", [None, "{", "{}"])
def test_an_unreadable_dataset_is_named(tmp_path, text):
    if text is not None:
        (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(StudyError, match=r"dataset\.json"):
        StudyFolder(tmp_path).dataset()


def test_paths_of_records_lie_in_the_study(tmp_path):
    folder = StudyFolder(tmp_path)
    path = folder.trial("0000-abc") / "checkpoint"
    assert folder.absolute("trials/0000-abc/checkpoint") == path


@pytest.mark.parametrize("path", ["../other", "trials/../../x", "/etc/passwd"])
def test_paths_out_of_the_study_are_refused(tmp_path, path):
    with pytest.raises(StudyError, match="outside"):
        StudyFolder(tmp_path).absolute(path)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", ".hidden", "a b", "a\n"])
def test_ids_that_are_no_folder_names_are_refused(tmp_path, name):
    for act in (StudyFolder(tmp_path).trial, StudyFolder(tmp_path).bundle):
        with pytest.raises(ValueError, match="an id must"):
            act(name)


def test_the_declaration_is_readable_json(tmp_path):
    StudyFolder.open_or_create(tmp_path, EXPERIMENT, "key1")
    text = (tmp_path / "experiment.json").read_text()
    assert json.loads(text) == {"study_key": "key1", "experiment": EXPERIMENT}


def test_a_plan_may_lie_where_a_study_begins_and_survives_a_clearing(tmp_path):
    folder = StudyFolder(tmp_path)
    folder.plan_file.write_text("{}")
    folder.clear()
    assert StudyFolder.open_or_create(tmp_path, EXPERIMENT, "key1") == folder
    fill(folder)
    folder.clear()
    assert tree(tmp_path) == ["plan.json"]
