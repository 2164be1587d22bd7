"""A search whose study is at home in a store: whatever fails, the same call goes on, nothing lost.

The conductor, the journal and the store's layers are the real ones; trials only write their files.
"""

import shutil
from contextlib import ExitStack
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl.conductor.conductor import Conductor
from automl.conductor.here import run_here
from automl.conductor.observers import Observers
from automl.errors import StudyError, UsageError
from automl.records import TrialMessage, TrialStatus, Verdict
from automl.space.search_plan import plan_from
from automl.storage import home, location
from automl.storage.claim import Times
from automl.storage.manifest import LIFE_KEY, OWN
from automl.storage.objects import MemoryObjects
from automl.storage.reliable import Patience
from automl.storage.residence import resident
from automl.store.atomic import staged_folder, write_text
from automl.store.journal import JOURNAL_NAME, Journal, read_journal
from automl.store.layout import StudyFolder

PLAN = plan_from(
    {"x": {"float": [0.0, 1.0]}},
    objectives={"miou": "maximize"},
    constraints={},
    epochs=3,
    search={"trials": 3, "sampler": "random", "eta": 3, "min_epochs": 1},
)
FAULTS = st.lists(st.sampled_from([*[None] * 12, "lost", "unanswered"]), max_size=150)


def acknowledged(events):
    """The epochs in a journal, each with its trial."""
    return {
        (event["trial_id"], event["message"]["epoch"])
        for event in events
        if event["kind"] == "message" and event["message"]["kind"] == "epoch"
    }


def trial_job(where, root, trained, known):
    """A trial that writes its files and reports; what is `known` is not trained again."""

    def train(own, name, epoch):
        assert (name, epoch) not in known
        trained.append((name, epoch))
        with staged_folder(own / "checkpoint" / str(epoch)) as staged:
            (staged / "model").write_text(f"{name} after {epoch}")
            (staged / "state").write_text(str(epoch))
        shutil.rmtree(own / "checkpoint" / str(epoch - 2), ignore_errors=True)

    def job(config, reporter):
        own = StudyFolder(root).trial(config.trial_id)
        where.bring(root, own)
        first = max((int(path.name) for path in own.glob("checkpoint/*")), default=0)
        for epoch in range(max(first, 1), PLAN.epochs + 1):
            if epoch > first:
                train(own, config.trial_id, epoch)
            where.keep(root, own)
            scores = {"miou": config.params["x"] * epoch / 10}
            message = TrialMessage(kind="epoch", seconds=0.0, epoch=epoch, metrics=scores)
            if reporter.report(config, message) is not Verdict.CONTINUE:
                return
        end = TrialMessage(kind="end", seconds=0.0, status=TrialStatus.COMPLETED)
        reporter.report(config, end)

    return job


def search(place, time, trained):
    """One call of the command; `trained` gets each epoch that a trial computes."""
    times = Times(clock=time, sleep=time.sleep)
    with resident(str(place), tell=lambda _: None, times=times) as residence:
        residence.begin()
        root = residence.root
        folder = StudyFolder.open_or_create(root, {"space": "x"}, "key")
        upkeep = residence.upkeep
        with Journal(folder.journal_file, upkeep.line_copy()) as journal:
            upkeep.keep()
            conductor = Conductor(PLAN, journal, observer=Observers(), clock=lambda: 0.0)

            known = acknowledged(journal.read())
            job = trial_job(upkeep.home, root, trained, known)
            run_here(conductor, job)
            write_text(folder.report_file, f"{len(conductor.results())} trials")
            upkeep.keep()
    return root


def files(root):
    """What a study's folder holds, but its lock and what is hidden."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != "journal.lock" and OWN not in path.parts
    }


class Machines:
    """Gives commands a store that fails, and each machine a cache and a memory of its own."""

    def __init__(self, stack, folder, time) -> None:
        self.objects = None
        self.patience = Patience(0.5, time, time.sleep, lambda: 0.5)
        self._stack, self._folder = stack, folder
        stack.enter_context(patch.object(location, "connect", lambda _: self.objects))
        stack.enter_context(patch.object(location, "patience_here", lambda: self.patience))

    def start(self, number) -> None:
        cache = self._folder / f"machine{number}"
        self._stack.enter_context(patch.dict("os.environ", {"AUTOML_CACHE": str(cache)}))
        home.mirror_of.cache_clear()


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(runs=st.lists(st.tuples(FAULTS, st.integers(0, 1)), max_size=5))
def test_whatever_fails_the_bucket_ends_as_a_folder_would(faulty, new_time, tmp_path_factory, runs):
    folder, time = tmp_path_factory.mktemp("study"), new_time()
    memory = MemoryObjects(clock=time)
    trained, alone = [], []
    with ExitStack() as stack:
        machines = Machines(stack, folder, time)
        for plan, machine in [*runs, ([], 0), ([], 1)]:
            machines.start(machine)
            machines.objects = faulty(memory, plan)
            try:
                search("s3://bucket/study", time, trained)
            except (StudyError, UsageError):
                assert plan
            time.sleep(120)  # a claim whose end was lost is void by then
        stored = {k: v[0] for k, v in memory.contents.items() if not k.startswith(OWN)}
    expected = files(search(folder / "local", time, alone))
    assert stored == expected
    assert set(trained) == set(alone)


@pytest.fixture
def machines(tmp_path, memory):
    with ExitStack() as stack:
        made = Machines(stack, tmp_path, memory.clock)
        made.objects = memory
        made.start(0)
        yield made


class Killed(BaseException):
    """Ends a process at once, as far as the study can tell."""


@pytest.mark.parametrize("at", [3, 10, 16, 22, 28, 33])
def test_a_killed_process_is_followed_by_another_machine(machines, memory, tmp_path, at):
    trained, time = [], memory.clock

    class Fatal(MemoryObjects):
        writes = 0

        def write(self, key, chunks):
            Fatal.writes += 1
            if Fatal.writes == at:
                raise Killed
            super().write(key, chunks)

    machines.objects = Fatal(clock=time, contents=memory.contents)
    with pytest.raises(Killed):
        search("s3://b/study", time, trained)
    machines.objects = memory
    machines.start(1)
    search("s3://b/study", time, trained)
    stored = {k: v[0] for k, v in memory.contents.items() if not k.startswith(OWN)}
    local = files(search(tmp_path / "local", time, []))
    print(stored["journal.jsonl"].decode())
    print(local["journal.jsonl"].decode())
    assert stored == local
    assert len(trained) - len(set(trained)) <= 1, "at most what was not kept yet"


def test_a_second_search_on_the_study_is_refused_with_the_name_of_the_first(machines, memory):
    time = memory.clock
    with resident("s3://b/study", tell=lambda _: None, times=Times(clock=time)) as first:
        first.begin()
        claims = [key for key in memory.contents if "/writers/" in key]

        class Beating(type(time)):
            def sleep(self, seconds):
                super().sleep(seconds)
                memory.write(claims[0], iter([memory.contents[claims[0]][0]]))

        time.__class__ = Beating
        with pytest.raises(UsageError, match=r"another search is running .*: pid \d+ on"):
            search("s3://b/study", time, [])


def test_overwriting_begins_another_life(machines, memory):
    time, trained = memory.clock, []
    before = search("s3://b/study", time, trained)
    life = memory.contents[LIFE_KEY]
    with resident("s3://b/study", tell=lambda _: None) as residence:
        residence.clear()
        assert [key for key in memory.contents if "/writers/" not in key] == [LIFE_KEY]
        assert memory.contents[LIFE_KEY] != life
        assert residence.root != before
        assert not before.exists()
    assert len(set(trained)) == len(trained)
    after = search("s3://b/study", time, trained)
    assert len(trained) == 2 * len(set(trained)), "nothing of the first life was taken for done"
    assert files(after)[JOURNAL_NAME] == memory.contents[JOURNAL_NAME][0]


def test_a_prefix_with_other_files_is_refused(machines, memory):
    memory.write("photos/1.jpg", iter([b"x"]))
    with pytest.raises(UsageError, match=r"holds what is no study .*\(found photos\)"):
        search("s3://b/study", memory.clock, [])
    assert list(memory.contents) == ["photos/1.jpg"]


def test_a_study_in_a_folder_is_as_it_was(tmp_path, new_time):
    place = tmp_path / "study"
    assert search(place, new_time(), []) == place
    assert len(read_journal(place / JOURNAL_NAME)) > 5
    assert not (place / OWN).exists()
