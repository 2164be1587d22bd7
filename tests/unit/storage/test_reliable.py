"""Requests are repeated while patience lasts; what is written and read is what was meant."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl.errors import UsageError
from automl.storage.objects import MemoryObjects, RefusedError, State, UnreachableError
from automl.storage.reliable import Digest, file_digest, patience_here

PLANS = st.lists(st.sampled_from([None, "lost", "unanswered", "half"]), max_size=12)


@settings(deadline=None, max_examples=50)
@given(plan=PLANS, content=st.binary(max_size=40))
def test_what_is_written_under_faults_is_whole(faulty, store_of, plan, content):
    inner = MemoryObjects(clock=lambda: 0.0)
    store = store_of(faulty(inner, plan), seconds=1e6)
    store.put_bytes("a/b", content)
    assert b"".join(inner.read("a/b")) == content


@settings(deadline=None, max_examples=50)
@given(plan=PLANS, content=st.binary(min_size=2, max_size=40))
def test_a_file_is_fetched_as_its_digest_says(faulty, store_of, tmp_path_factory, plan, content):
    folder = tmp_path_factory.mktemp("fetch")
    (folder / "here").write_bytes(content)
    inner = MemoryObjects(clock=lambda: 0.0)
    store_of(inner).put_file("k", folder / "here")
    store = store_of(faulty(inner, plan), seconds=1e6)
    assert store.get_file("k", folder / "there", [file_digest(folder / "here")])
    assert (folder / "there").read_bytes() == content
    assert not store.get_file("none", folder / "no", [Digest(0, "")])
    assert sorted(path.name for path in folder.iterdir()) == ["here", "there"]


def test_patience_ends_in_words_that_say_what_where_and_what_to_do(faulty, store_of, memory):
    objects = faulty(memory, ["lost"] * 1000)
    with pytest.raises(UnreachableError) as told:
        store_of(objects, seconds=20).put_bytes("journal/1.jsonl", b"x")
    assert str(told.value).startswith("s3://b/study: cannot write journal/1.jsonl, after ")
    assert "connection timed out; all that is finished is kept: run the same" in str(told.value)
    assert 5 < objects.requests < 20


def test_half_of_a_file_that_stays_half_is_told(faulty, store_of, memory):
    with pytest.raises(UnreachableError, match="2 of 4 bytes as written arrived"):
        store_of(faulty(memory, ["half", None] * 500), seconds=20).put_bytes("k", b"four")


def test_a_refusal_is_not_repeated(store_of, memory):
    requests = []

    class Refusing(MemoryObjects):
        def entries(self, prefix):
            requests.append(prefix)
            raise RefusedError("ACCESS_DENIED")

    with pytest.raises(UnreachableError, match="cannot list all: ACCESS_DENIED"):
        store_of(Refusing(clock=lambda: 0.0)).entries("")
    assert requests == [""]


def test_without_a_checksum_the_content_is_read_back(store_of):
    class Plain(MemoryObjects):
        reads = 0

        def state(self, key):
            return State(super().state(key).size, None)

        def read(self, key):
            Plain.reads += 1
            content = b"".join(super().read(key))
            yield content if Plain.reads > 1 else bytes(len(content))

    store_of(Plain(clock=lambda: 0.0)).put_bytes("k", b"content")
    assert Plain.reads == 2, "the first reading gave other bytes, so it was written again"


@pytest.mark.parametrize("named", ["soon", "-1", "nan"])
def test_patience_is_a_number(monkeypatch, named):
    monkeypatch.setenv("AUTOML_STORAGE_PATIENCE_S", named)
    with pytest.raises(UsageError, match=f"AUTOML_STORAGE_PATIENCE_S: given '{named}'; allowed"):
        patience_here()


def test_patience_is_what_the_environment_says(monkeypatch):
    monkeypatch.setenv("AUTOML_STORAGE_PATIENCE_S", "7.5")
    assert patience_here().seconds == 7.5
    monkeypatch.delenv("AUTOML_STORAGE_PATIENCE_S")
    assert patience_here().seconds == 120
