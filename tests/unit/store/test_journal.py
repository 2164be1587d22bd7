import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl.errors import StudyError, UsageError
from automl.store import journal as journal_module
from automl.store.journal import Journal, lock_path, read_journal
from automl.store.lock import WriterLock

WRITER = """
import sys
from pathlib import Path
from automl.store.journal import Journal
with Journal(Path(sys.argv[1])) as journal:
    number = len(journal.read())
    while True:
        journal.append({"number": number, "filler": "x" * (number % 700)})
        print(number, flush=True)
        number += 1
"""

HOLDER = """
import sys, time
from pathlib import Path
from automl.store.journal import Journal
journal = Journal(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


def start(script: str, path: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def kill(process: subprocess.Popen) -> str:
    process.send_signal(signal.SIGKILL)
    output, _ = process.communicate()
    return output


def write_events(path: Path, num_events: int) -> list[dict]:
    events = [{"event": "done", "number": number} for number in range(num_events)]
    with Journal(path) as journal:
        for event in events:
            journal.append(event)
    return events


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # JSON has no lone surrogates, and neither have our texts.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(events=st.lists(st.dictionaries(st.text(), json_values, max_size=4), max_size=4))
def test_any_json_event_is_read_back_by_the_next_writer(events, tmp_path_factory):
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    with Journal(path) as journal:
        for event in events:
            journal.append(event)
        assert journal.read() == events
    with Journal(path) as journal:
        assert journal.read() == events
    assert path.read_bytes().count(b"\n") == len(events)


def test_each_line_is_json_with_a_checksum(tmp_path):
    write_events(tmp_path / "j.jsonl", 2)
    lines = [json.loads(line) for line in (tmp_path / "j.jsonl").read_text().splitlines()]
    assert [line["event"]["number"] for line in lines] == [0, 1]
    assert all(len(line["crc"]) == 8 for line in lines)


def test_reading_needs_no_lock_and_a_missing_journal_is_empty(tmp_path):
    path = tmp_path / "j.jsonl"
    assert read_journal(path) == []
    with Journal(path) as journal:
        journal.append({"a": 1})
        assert read_journal(path) == [{"a": 1}]


@pytest.mark.parametrize("bad", [{"loss": float("nan")}, {"path": Path("a")}])
def test_what_json_cannot_hold_leaves_the_journal_as_it_was(tmp_path, bad):
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.append({"a": 1})
        with pytest.raises((ValueError, TypeError)):
            journal.append(bad)
        journal.append({"a": 2})
        assert journal.read() == [{"a": 1}, {"a": 2}]


def test_an_event_is_synced_before_it_is_acknowledged(tmp_path, monkeypatch):
    synced = []
    with Journal(tmp_path / "j.jsonl") as journal:
        monkeypatch.setattr(
            journal_module.os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size)
        )
        journal.append({"a": 1})
        assert synced == [(tmp_path / "j.jsonl").stat().st_size]


def test_a_journal_cut_at_any_byte_keeps_every_whole_line(tmp_path):
    path = tmp_path / "j.jsonl"
    events = write_events(path, 3)
    content = path.read_bytes()
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        whole = content[:length].count(b"\n")
        assert read_journal(path) == events[:whole]
        assert path.stat().st_size == length
        with Journal(path) as journal:
            assert journal.read() == events[:whole]
            journal.append({"after": True})
        assert read_journal(path) == [*events[:whole], {"after": True}]


def test_a_last_line_with_blocks_that_never_arrived_is_torn(tmp_path):
    path = tmp_path / "j.jsonl"
    events = write_events(path, 3)
    content = path.read_bytes()
    path.write_bytes(content[:-9] + b"\0" * 8 + b"\n")
    with Journal(path) as journal:
        assert journal.read() == events[:2]


def test_every_changed_byte_before_the_last_line_is_damage_that_names_its_line(tmp_path):
    path = tmp_path / "j.jsonl"
    write_events(path, 3)
    content = path.read_bytes()
    start_of_last = content[:-1].rindex(b"\n") + 1
    for position in range(start_of_last):
        damaged = bytearray(content)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        line = content[:position].count(b"\n") + 1
        with pytest.raises(StudyError, match=rf"j\.jsonl:{line}: .*damaged"):
            read_journal(path)
        with pytest.raises(StudyError, match=rf"j\.jsonl:{line}: "):
            Journal(path)
        assert path.read_bytes() == damaged


@pytest.mark.parametrize("order", [[0, 2], [0, 0, 1, 2], [1, 0, 2], [1, 2]])
def test_lost_doubled_and_moved_lines_are_damage(tmp_path, order):
    path = tmp_path / "j.jsonl"
    write_events(path, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[index] for index in order))
    with pytest.raises(StudyError, match="damaged"):
        read_journal(path)


def test_damage_releases_the_lock(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_text("no journal\n")
    with pytest.raises(StudyError, match=r":1: "):
        Journal(path)
    with WriterLock(lock_path(path)):
        pass


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "j.jsonl"
    real_write = os.write

    def full(descriptor, content):
        if len(content) > 10:
            return real_write(descriptor, content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    with Journal(path) as journal:
        journal.append({"a": 1})
        with monkeypatch.context() as patch:
            patch.setattr(journal_module.os, "write", full)
            with pytest.raises(StudyError, match=r"j\.jsonl.*No space left"):
                journal.append({"a": "long enough to be cut"})
        journal.append({"a": 2})
        assert journal.read() == [{"a": 1}, {"a": 2}]


def test_a_closed_journal_takes_no_events(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    journal.close()
    journal.close()
    with pytest.raises(ValueError, match="closed"):
        journal.append({})


def test_threads_append_whole_lines(tmp_path):
    with Journal(tmp_path / "j.jsonl") as journal:
        threads = [
            threading.Thread(
                target=lambda who=who: [journal.append({"who": who, "n": n}) for n in range(10)]
            )
            for who in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        events = journal.read()
    for who in range(4):
        assert [event["n"] for event in events if event["who"] == who] == list(range(10))


def test_a_second_writer_is_told_which_process_holds_the_study(tmp_path):
    path = tmp_path / "study" / "journal.jsonl"
    holder = start(HOLDER, path)
    assert holder.stdout.readline() == "open\n"
    with pytest.raises(UsageError, match=rf"another search .*pid {holder.pid} on "):
        Journal(path)
    kill(holder)
    with Journal(path) as journal:
        journal.append({"a": 1})


def test_two_journals_in_one_process_exclude_each_other(tmp_path):
    first = Journal(tmp_path / "j.jsonl")
    with pytest.raises(UsageError, match=f"pid {os.getpid()}"):
        Journal(tmp_path / "j.jsonl")
    first.close()
    Journal(tmp_path / "j.jsonl").close()


def test_reading_the_journal_does_not_let_go_of_the_lock(tmp_path):
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.read()
        read_journal(tmp_path / "j.jsonl")
        with pytest.raises(UsageError):
            Journal(tmp_path / "j.jsonl")


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    script = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from automl.store.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "if os.fork() == 0:\n"
        "    print(os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
        "time.sleep(60)\n"
    )
    parent = start(script, tmp_path / "j.jsonl")
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    try:
        os.kill(child, 0)
        Journal(tmp_path / "j.jsonl").close()
    finally:
        os.kill(child, signal.SIGKILL)
        parent.stdout.close()
        parent.stdin.close()


def test_a_lock_on_a_deleted_file_is_taken_again(tmp_path, monkeypatch):
    path = tmp_path / "j.lock"
    real_flock = fcntl.flock
    calls = []

    def delete_before_the_first_lock(descriptor, operation):
        calls.append(descriptor)
        if len(calls) == 1:
            path.unlink()
        real_flock(descriptor, operation)

    monkeypatch.setattr("automl.store.lock.fcntl.flock", delete_before_the_first_lock)
    with WriterLock(path):
        assert len(calls) == 2
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_kill_during_appends_loses_nothing_acknowledged(tmp_path):
    path = tmp_path / "journal.jsonl"
    acknowledged = 0
    for delay in (0.01, 0.03, 0.06, 0.1):
        writer = start(WRITER, path)
        first = int(writer.stdout.readline())
        time.sleep(delay)
        rest = kill(writer).splitlines(keepends=True)
        told = [int(line) for line in rest if line.endswith("\n")]
        acknowledged = max([first, *told]) + 1
        numbers = [event["number"] for event in read_journal(path)]
        assert numbers == list(range(len(numbers)))
        # The kill may fall between the sync and the acknowledgement of one event.
        assert acknowledged <= len(numbers) <= acknowledged + 1
    assert acknowledged > 4
