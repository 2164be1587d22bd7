"""The journal in a store: nothing acknowledged is lost, whatever fails."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from automl.storage.journal_copy import JournalCopy, remove_journal, stored_journal
from automl.storage.objects import MemoryObjects, UnreachableError
from automl.store.journal import JOURNAL_NAME, Journal, parse_journal, read_journal

FAULTS = st.lists(st.sampled_from([None, None, "lost", "unanswered", "half"]), max_size=40)
#: In a first run the last attempt to write something leaves half of it: the spare, or the whole.
HALF_OF_THE_SPARE = [*[None] * 5, "lost", "lost", "half"]
HALF_OF_THE_WHOLE = [*[None] * 7, "lost", "lost", "half"]


def events(store):
    return parse_journal("stored", stored_journal(store))


@settings(max_examples=100, deadline=None)
@example(runs=[(HALF_OF_THE_SPARE, 1), (HALF_OF_THE_WHOLE, 1), (HALF_OF_THE_SPARE, 1), ([], 1)])
@example(runs=[(HALF_OF_THE_WHOLE, 1), (HALF_OF_THE_SPARE, 1), (HALF_OF_THE_WHOLE, 1), ([], 1)])
@example(runs=[([], 3), (HALF_OF_THE_WHOLE, 1), (HALF_OF_THE_WHOLE, 1), ([], 0)])
@given(runs=st.lists(st.tuples(FAULTS, st.integers(0, 6)), min_size=1, max_size=4))
def test_each_run_goes_on_from_all_that_was_acknowledged(faulty, store_of, tmp_path_factory, runs):
    memory = MemoryObjects(clock=lambda: 0.0)
    acknowledged = []
    for plan, count in runs:
        file = tmp_path_factory.mktemp("machine") / JOURNAL_NAME
        file.write_bytes(stored_journal(store_of(memory)))
        known = read_journal(file)
        # One more than was acknowledged: its answer was lost.
        assert known[: len(acknowledged)] == acknowledged
        assert len(known) <= len(acknowledged) + 1
        acknowledged = known
        copy = JournalCopy(store_of(faulty(memory, plan), seconds=0.3), file)
        with Journal(file, copy) as journal:
            try:
                for number in range(count):
                    journal.append({"event": len(acknowledged) + number})
                    acknowledged = [*acknowledged, journal.read()[-1]]
                copy.fold(file.stat().st_size)
            except UnreachableError:
                assert journal.read() == acknowledged
    assert events(store_of(memory))[: len(acknowledged)] == acknowledged


def test_an_event_is_in_the_store_before_it_is_acknowledged(store_of, memory, tmp_path):
    store = store_of(memory)
    with Journal(tmp_path / JOURNAL_NAME, JournalCopy(store, tmp_path / JOURNAL_NAME)) as journal:
        for number in range(3):
            journal.append({"number": number})
            assert events(store) == [{"number": n} for n in range(number + 1)]
    names = sorted(memory.contents)
    assert names[0] == "journal/000000000000.jsonl"
    assert len(names) == 3


def test_folding_leaves_the_file_of_a_study_in_a_folder(store_of, memory, tmp_path, monkeypatch):
    monkeypatch.setattr("automl.storage.journal_copy._MOST_SEGMENTS", 10)
    file, store = tmp_path / JOURNAL_NAME, store_of(memory)
    copy = JournalCopy(store, file)
    with Journal(file, copy) as journal:
        for number in range(23):
            journal.append({"number": number})
            assert len(memory.contents) <= 11
        copy.fold(file.stat().st_size)
    assert {k: v[0] for k, v in memory.contents.items()} == {JOURNAL_NAME: file.read_bytes()}


def test_a_reader_meets_a_writer_that_folds(store_of, memory, tmp_path):
    file = tmp_path / JOURNAL_NAME
    copy = JournalCopy(store_of(memory), file)
    with Journal(file, copy) as journal:
        for number in range(3):
            journal.append({"number": number})

        class Folding(MemoryObjects):
            def read(self, key):
                if key.startswith("journal/") and JOURNAL_NAME not in memory.contents:
                    copy.fold(file.stat().st_size)
                return super().read(key)

        store = store_of(Folding(clock=memory.clock, contents=memory.contents))
        assert [event["number"] for event in events(store)] == [0, 1, 2]


def test_a_reader_that_finds_no_segment_has_what_they_held(store_of, memory, tmp_path):
    file = tmp_path / JOURNAL_NAME
    copy = JournalCopy(store_of(memory), file)
    with Journal(file, copy) as journal:
        for number in range(3):
            journal.append({"number": number})

        class FoldedBeforeListed(MemoryObjects):
            def entries(self, prefix):
                copy.fold(file.stat().st_size)
                return super().entries(prefix)

        store = store_of(FoldedBeforeListed(clock=memory.clock, contents=memory.contents))
        assert [event["number"] for event in events(store)] == [0, 1, 2]


def test_a_line_stays_though_the_whole_cannot_be_written_anew(
    faulty, store_of, memory, tmp_path, monkeypatch
):
    monkeypatch.setattr("automl.storage.journal_copy._MOST_SEGMENTS", 2)
    file = tmp_path / JOURNAL_NAME
    unreachable_when_folding = faulty(memory, [*[None] * 4, *["lost"] * 9])
    copy = JournalCopy(store_of(unreachable_when_folding, seconds=0.3), file)
    with Journal(file, copy) as journal:
        for number in range(2):
            journal.append({"number": number})
        assert [event["number"] for event in journal.read()] == [0, 1]
    assert [event["number"] for event in events(store_of(memory))] == [0, 1]


def test_a_missing_segment_is_told(store_of, memory, tmp_path):
    file, store = tmp_path / JOURNAL_NAME, store_of(memory)
    with Journal(file, JournalCopy(store, file)) as journal:
        for number in range(3):
            journal.append({"number": number})
    del memory.contents[sorted(memory.contents)[1]]
    with pytest.raises(UnreachableError, match="a part of the journal is not there"):
        stored_journal(store)


def test_removing_leaves_a_shorter_journal_at_every_moment(faulty, store_of, memory, tmp_path):
    file, store = tmp_path / JOURNAL_NAME, store_of(memory)
    with Journal(file, JournalCopy(store, file)) as journal:
        for number in range(4):
            journal.append({"number": number})
    with pytest.raises(UnreachableError):
        remove_journal(store_of(faulty(memory, [None, None, None, *["lost"] * 99]), seconds=1))
    assert events(store) == [{"number": 0}, {"number": 1}]
    remove_journal(store)
    assert memory.contents == {}
