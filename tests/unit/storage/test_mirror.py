"""A study here and in a store: whatever fails, a unit is whole, and the next attempt ends it."""

import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl.storage.manifest import is_of_jobs, unit_of
from automl.storage.mirror import Mirror
from automl.storage.objects import MemoryObjects, UnreachableError

CHECKPOINT = "trials/0001-ab/checkpoint"


def files(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def write(root, contents):
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("report.md", "report.md"),
        ("reference/model.onnx", "reference"),
        ("trials/0001-ab/checkpoint/epoch-00001/state.json", CHECKPOINT),
        ("trials/0001-ab/memory.json", "trials/0001-ab/memory.json"),
        ("candidates/trial0-fp32/core.onnx", "candidates/trial0-fp32"),
        ("candidates/timings-ab.json", "candidates/timings-ab.json"),
        ("costs/ab.json", "costs/ab.json"),
        ("finalists/seed7/candidates/trial0-fp32/a", "finalists/seed7/candidates/trial0-fp32"),
        ("finalists/seed7/trials/t/checkpoint/e/s", "finalists/seed7/trials/t/checkpoint"),
        ("ray/tune/x", None),
        ("journal.jsonl", None),
        ("finalists/seed7/ray/x", None),
        ("trials/.t.automl-tmp/a", None),
    ],
)
def test_the_unit_of_a_file(name, unit):
    assert unit_of(name) == unit


def test_jobs_keep_trials_costs_and_scores_themselves():
    assert is_of_jobs(CHECKPOINT)
    assert is_of_jobs("finalists/seed7/trials/t/checkpoint")
    assert not is_of_jobs("finalists/seed7/candidates/c")
    assert not is_of_jobs("bundles/best")


def test_the_store_holds_the_files_of_the_study_under_their_names(store_of, memory, tmp_path):
    here = tmp_path / "here"
    study = {"report.md": b"r", "bundles/best/model.onnx": b"m", "experiment.json": b"{}"}
    write(here, {**study, "ray/log": b"no", "journal.jsonl": b"no", ".x.automl-tmp": b"no"})
    Mirror(store_of(memory), here).keep_study()
    stored = {k: v[0] for k, v in memory.contents.items() if not k.startswith(".automl/")}
    assert stored == study
    there = Mirror(store_of(memory), tmp_path / "there")
    there.bring_study()
    assert files(there.root) == study


def test_what_goes_here_goes_there_and_on_other_nodes(store_of, memory, tmp_path):
    first, second = (Mirror(store_of(memory), tmp_path / name) for name in ("a", "b"))
    write(first.root, {"bundles/old/m": b"1", "bundles/best/m": b"2", "bundles/best/extra": b"3"})
    first.keep_study()
    second.bring_study()
    shutil.rmtree(first.root / "bundles" / "old")
    (first.root / "bundles" / "best" / "extra").unlink()
    first.keep_study()
    second.bring_study()
    assert files(first.root) == files(second.root) == {"bundles/best/m": b"2"}
    assert [k for k in memory.contents if not k.startswith(".automl/")] == ["bundles/best/m"]


def test_what_is_the_same_takes_no_request(faulty, store_of, memory, tmp_path):
    objects = faulty(memory)
    mirror = Mirror(store_of(objects), tmp_path)
    write(tmp_path, {"report.md": b"r", "costs/a.json": b"1"})
    mirror.keep_study()
    mirror.keep("costs/a.json")
    before = objects.requests
    mirror.keep_study()
    mirror.keep("costs/a.json")
    assert objects.requests == before


def test_what_was_written_here_alone_gives_way_to_the_store(store_of, memory, tmp_path):
    mirror = Mirror(store_of(memory), tmp_path / "a")
    epoch = {f"{CHECKPOINT}/epoch-00001/state.json": b"one"}
    write(mirror.root, epoch)
    mirror.keep("trials/0001-ab")
    # A process that was killed between its own disk and the store.
    write(mirror.root, {f"{CHECKPOINT}/epoch-00002/state.json": b"two", "report.md": b"new"})
    again = Mirror(store_of(memory), tmp_path / "a")
    again.bring_study()
    again.bring("trials/0001-ab")
    assert files(again.root) == epoch


def test_a_manifest_without_its_file_is_told(store_of, memory, tmp_path):
    write(tmp_path / "a", {"report.md": b"r"})
    Mirror(store_of(memory), tmp_path / "a").keep_study()
    del memory.contents["report.md"]
    with pytest.raises(UnreachableError, match=r"study/report.md: is not there, but in the man"):
        Mirror(store_of(memory), tmp_path / "b").bring_study()


CONTENTS = st.dictionaries(st.sampled_from(["model", "state"]), st.binary(min_size=1, max_size=3))
#: Stores replace an object whole or not at all; half of one is a fault for as long as one tries.
FAULTS = st.lists(st.sampled_from([None, None, None, "lost", "unanswered"]), max_size=30)
RUNS = st.lists(st.tuples(CONTENTS, FAULTS, st.booleans()), min_size=1, max_size=4)


def state_of(name, number, contents):
    if name == "memory.json":
        return {f"trials/0001-ab/{name}": str(sorted(contents.items())).encode()}
    return {f"trials/0001-ab/{name.format(number)}{k}": v for k, v in contents.items()}


@pytest.mark.parametrize("name", ["checkpoint/e{}/", "memory.json"])
@settings(max_examples=25, deadline=None)
@given(runs=RUNS)
def test_another_node_always_finds_a_whole_state(faulty, store_of, tmp_path_factory, name, runs):
    """Each state is kept under faults, by one who soon gives up; then another node looks.

    Checkpoints have names of their own, a note is replaced under its name.
    """
    root = tmp_path_factory.mktemp("study")
    memory = MemoryObjects(clock=lambda: 0.0)
    allowed = [{}]
    mirror = Mirror(store_of(memory), root / "here")
    for number, (contents, plan, restarted) in enumerate(runs):
        state = state_of(name, number, contents)
        if restarted:
            mirror = Mirror(store_of(memory), root / "here")
            mirror.bring("trials/0001-ab")
        shutil.rmtree(root / "here" / "trials", ignore_errors=True)
        write(root / "here", state)
        mirror.store = store_of(faulty(memory, plan), seconds=0.3)
        try:
            mirror.keep("trials/0001-ab")
            allowed = [state]
        except UnreachableError:
            allowed.append(state)
        other = Mirror(store_of(memory), root / f"there{number}")
        other.bring("trials/0001-ab")
        assert files(other.root) in allowed
    # What a killed process left without a manifest goes when the unit is kept again.
    state = {"trials/0001-ab/checkpoint/end/model": b"end"}
    shutil.rmtree(root / "here" / "trials", ignore_errors=True)
    write(root / "here", state)
    mirror.store = store_of(memory)
    mirror.keep("trials/0001-ab")
    stored = {k: v[0] for k, v in memory.contents.items() if not k.startswith(".automl/")}
    notes = {k: v for k, v in stored.items() if k.endswith("memory.json")}
    assert stored == {**state, **notes}
    assert (notes != {}) <= (name == "memory.json")


@settings(max_examples=25, deadline=None)
@given(plan=st.lists(st.sampled_from([None, "lost", "unanswered", "half"]), max_size=40))
def test_patience_outlasts_every_fault(faulty, store_of, tmp_path_factory, plan):
    root = tmp_path_factory.mktemp("study")
    memory = MemoryObjects(clock=lambda: 0.0)
    study = {"report.md": b"report", "bundles/best/model.onnx": b"model", "dataset.json": b"{}"}
    for name in ("first", "second"):
        write(root / "here", {**study, "report.md": name.encode()})
        Mirror(store_of(faulty(memory, plan), seconds=1e6), root / "here").keep_study()
        there = Mirror(store_of(faulty(memory, plan), seconds=1e6), root / name)
        there.bring_study()
        assert files(there.root) == {**study, "report.md": name.encode()}
