"""Out of memory on one rank of a real group: all ranks go on in smaller pieces, none hangs."""

import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest

from automl.errors import TrialError
from automl.jobs import trial
from automl.jobs.memory import read_note
from automl.jobs.trial import run_trial
from automl.records import TrialStatus

WORKER = Path(__file__).with_name("memory_worker.py")
RANKS = 2

pytestmark = pytest.mark.slow


class Group:
    """Trains with a process a rank; where one fails, it ends the others, as Ray Train does."""

    def __init__(self, folder):
        self.folder = folder
        self.heard = folder / "heard.jsonl"
        self.attempts = 0

    def __call__(self, run):
        self.attempts += 1
        run_file = self.folder / "run.pickle"
        run_file.write_bytes(pickle.dumps((run.config, run.context, self.heard)))
        log = self.folder / f"attempt-{self.attempts}.log"
        with log.open("w") as stream:
            workers = [
                subprocess.Popen(
                    [
                        sys.executable,
                        str(WORKER),
                        str(run_file),
                        str(self.folder / f"rendezvous-{self.attempts}"),
                        str(rank),
                        str(RANKS),
                    ],
                    stdout=stream,
                    stderr=stream,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
                for rank in range(RANKS)
            ]
            try:
                while any(worker.poll() is None for worker in workers):
                    if any(worker.poll() for worker in workers):
                        break
                    time.sleep(0.05)
            finally:
                for worker in workers:
                    worker.kill()
                    worker.wait()
        if any(worker.returncode for worker in workers):
            raise TrialError(f"the worker group failed: {log.read_text()}")
        return False


def test_a_rank_out_of_memory_takes_all_to_smaller_pieces(
    context, config, recorder, monkeypatch, tmp_path
):
    monkeypatch.setattr(trial, "measure_costs", lambda _config, _context: ())
    group, heard = Group(tmp_path), recorder()
    sample = config(batch_size=8)
    of = context(train={"epochs": 2, "device": "cpu", "workers": RANKS})
    run_trial(sample, of, heard, train=group)
    end = heard.messages[-1]
    assert end.status is TrialStatus.COMPLETED, end.reason
    # 4 images a rank did not fit, 2 do.
    assert group.attempts == 2
    note = read_note(of.folder.trial(sample.trial_id))
    assert (note.micro_batches, note.images, note.faults) == (2, 2, 1)
    told = [json.loads(line) for line in group.heard.read_text().splitlines()]
    assert [message["epoch"] for message in told] == [1, 2]
    assert all("went on with 2 micro batches" in message["reason"] for message in told)
