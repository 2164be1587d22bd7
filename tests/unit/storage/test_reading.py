"""What commands read from a store: trees, studies and parts of them, datasets of nodes."""

import json

import pytest

from automl.errors import StudyError, UsageError
from automl.storage.dataset_share import dataset_here, share_dataset
from automl.storage.fetching import fetch_tree
from automl.storage.home import BucketHome, FolderHome
from automl.storage.journal_copy import JournalCopy
from automl.storage.location import opened
from automl.storage.manifest import LIFE_KEY
from automl.storage.mirror import Mirror
from automl.storage.reading import fetched
from automl.store.journal import JOURNAL_NAME, Journal, read_journal


@pytest.fixture
def url(tmp_path, monkeypatch):
    """The URL of a place in a folder, which serves as a store."""
    monkeypatch.setenv("AUTOML_CACHE", str(tmp_path / "cache"))
    return f"file://{tmp_path}/store"


def write(root, contents):
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def names(root):
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.fixture
def study(url, tmp_path):
    """A study with two trials, of which the journal is not folded yet."""
    root = tmp_path / "worked-on"
    store = opened(f"{url}/study")
    store.put_bytes(LIFE_KEY, json.dumps({"life": "abc"}).encode())
    trials = {f"trials/000{n}-ab/checkpoint/epoch-00001/model": b"%d" % n for n in (0, 1)}
    write(root, {"experiment.json": b"{}", "bundles/best/model.onnx": b"m", "costs/a.json": b"1"})
    write(root, trials)
    mirror = Mirror(store, root)
    mirror.keep_study()
    mirror.keep("trials")
    mirror.keep("costs")
    with Journal(root / JOURNAL_NAME, JournalCopy(store, root / JOURNAL_NAME)) as journal:
        journal.append({"kind": "proposed"})
    return f"{url}/study"


def test_a_tree_is_fetched_once_and_again_where_it_changed(url, tmp_path):
    write(tmp_path / "store" / "data", {"images/1.png": b"1", "images/2.png": b"2"})
    here = fetch_tree(f"{url}/data", "--data")
    assert here.name == "data"
    assert names(here) == {"images/1.png", "images/2.png"}
    untouched = (here / "images/1.png").stat().st_ino
    write(tmp_path / "store" / "data", {"images/2.png": b"two", "images/3.png": b"3"})
    (here / "images/1.png").stat()
    assert fetch_tree(f"{url}/data", "--data") == here
    assert names(here) == {f"images/{n}.png" for n in (1, 2, 3)}
    assert (here / "images/2.png").read_bytes() == b"two"
    assert (here / "images/1.png").stat().st_ino == untouched
    (tmp_path / "store" / "data" / "images" / "1.png").unlink()
    (here / "images/3.png").write_bytes(b"damaged")
    fetch_tree(f"{url}/data", "--data")
    assert names(here) == {"images/2.png", "images/3.png"}
    assert (here / "images/3.png").read_bytes() == b"3"


def test_a_single_object_is_fetched_as_a_file(url, tmp_path):
    write(tmp_path / "store", {"packed/best.automl.zip": b"zip"})
    assert fetched(f"{url}/packed/best.automl.zip", "BUNDLE").read_bytes() == b"zip"


def test_nothing_there_is_told_with_who_asked(url):
    with pytest.raises(UsageError, match=r"^BUNDLE: file:.*/none/x: nothing is there"):
        fetched(f"{url}/none/x", "BUNDLE")


def test_a_study_is_read_without_what_only_its_jobs_need(study):
    here = fetched(study, "STUDY")
    assert here.name == "study"
    assert names(here) == {"experiment.json", "bundles/best/model.onnx", JOURNAL_NAME}
    assert read_journal(here / JOURNAL_NAME) == [{"kind": "proposed"}]


@pytest.mark.parametrize("named", ["1", "0001-ab"])
def test_a_trial_is_read_with_its_study(study, named):
    here = fetched(f"{study}/{named}", "STUDY")
    assert here.name == named
    assert {n for n in names(here.parent) if n.startswith("trials")} == {
        "trials/0001-ab/checkpoint/epoch-00001/model"
    }
    assert (here.parent / "experiment.json").exists()


def test_a_bundle_is_read_alone(study):
    here = fetched(f"{study}/bundles/best", "BUNDLE")
    assert names(here) == {"model.onnx"}
    assert names(here.parents[1]) == {"bundles/best/model.onnx"}


def test_a_node_fetches_the_dataset_once(study, tmp_path, monkeypatch):
    write(tmp_path / "driver" / "set", {"dataset.json": b"{}", "train.arrow": b"pixels"})
    mirror = Mirror(opened(study), tmp_path / "node" / "study")
    given = tmp_path / "driver" / "set"
    with pytest.raises(StudyError, match=r"is no dataset of this node, and .* holds none"):
        dataset_here(mirror, given)
    share_dataset(mirror, given)
    here = dataset_here(mirror, given)
    assert here == mirror.root / "dataset"
    assert names(here) == {"dataset.json", "train.arrow"}
    before = (here / "train.arrow").stat().st_ino
    assert dataset_here(Mirror(opened(study), mirror.root), given) == here
    assert (here / "train.arrow").stat().st_ino == before
    (here / "train.arrow").write_bytes(b"pix")  # cut short
    assert (dataset_here(mirror, given) / "train.arrow").read_bytes() == b"pixels"
    monkeypatch.setenv("AUTOML_CACHE", str(tmp_path / "driver"))
    assert dataset_here(mirror, given) == given, "it is in this node's own cache"


def test_a_home_in_a_bucket_has_a_folder_on_each_node(study, tmp_path, monkeypatch):
    home = BucketHome(url=study, life="abc")
    given = tmp_path / "of-another-node"
    first = home.root(given)
    assert first.is_relative_to(tmp_path / "cache")
    assert first.name == "study"
    inner = home.within("finalists/seed7")
    assert inner.root(given) == first / "finalists" / "seed7"
    write(inner.root(given), {"candidates/c/model.onnx": b"c"})
    inner.keep(inner.root(given), inner.root(given) / "candidates" / "c")
    assert opened(study).get_bytes("finalists/seed7/candidates/c/model.onnx") == b"c"
    assert home.events(first) == [{"kind": "proposed"}]
    monkeypatch.setenv("AUTOML_CACHE", str(tmp_path / "elsewhere"))
    assert home.root(given).is_relative_to(tmp_path / "elsewhere")
    assert BucketHome(url=study, life="another").root(given) != home.root(given)


def test_a_home_in_a_folder_is_that_folder(tmp_path):
    home = FolderHome()
    assert home.root(tmp_path) == home.dataset(tmp_path) == tmp_path
    assert home.within("finalists") is home
    home.bring(tmp_path, tmp_path / "a")
    home.keep(tmp_path, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
