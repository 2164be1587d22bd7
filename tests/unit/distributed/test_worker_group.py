"""How a group's messages and verdicts pass through its trial, without a running Ray."""

from types import SimpleNamespace

import pytest

from automl.records import TrialMessage, Verdict, to_json


@pytest.fixture(scope="module")
def group():
    from automl.distributed import connection

    connection.prepare_environment()
    return pytest.importorskip("automl.distributed.worker_group")


class Line:
    """The messages of a group, which has ended once they are read; and the verdicts sent back."""

    def __init__(self, *messages):
        self.waiting, self.sent = list(messages), []
        self.messages = self.verdicts = self

    def get(self, timeout):
        return self.waiting.pop(0)

    def put(self, verdict):
        self.sent.append(verdict)

    def is_alive(self):
        return bool(self.waiting)


def epoch(number):
    return to_json(TrialMessage(kind="epoch", seconds=1.0, epoch=number, metrics={"miou": 0.5}))


def on(rank, node):
    return {"rank": rank, "trial_node": node}


def outcome(group, monkeypatch, *messages, leaving=(), verdict=Verdict.CONTINUE):
    line = Line(*messages)
    monkeypatch.setattr(group, "this_node", lambda: "driver")
    monkeypatch.setattr(group, "one_is_leaving", lambda nodes: not set(nodes).isdisjoint(leaving))
    ended = group._forward(SimpleNamespace(tell=lambda _message: verdict), line, line)
    return ended.name, line.sent


RANKS = (on(0, "a"), on(1, "b"))


def test_a_group_of_which_no_node_leaves_runs_to_its_end(group, monkeypatch):
    told = outcome(group, monkeypatch, *RANKS, epoch(1), epoch(2), leaving={"c"})
    assert told == ("ENDED", [(1, "continue"), (2, "continue")])


@pytest.mark.parametrize("node", ["a", "b", "driver"])
def test_a_group_pauses_to_move_where_any_of_its_nodes_leaves(group, monkeypatch, node):
    told = outcome(group, monkeypatch, *RANKS, epoch(1), leaving={node})
    assert told == ("MOVES", [(1, "pause")])


def test_a_rank_that_was_started_again_elsewhere_is_where_it_is_now(group, monkeypatch):
    again = on(1, "d")
    told = outcome(group, monkeypatch, *RANKS, again, epoch(1), leaving={"b"})
    assert told == ("ENDED", [(1, "continue")])


@pytest.mark.parametrize("verdict", [Verdict.STOP, Verdict.PAUSE])
def test_a_verdict_counts_before_a_move(group, monkeypatch, verdict):
    told = outcome(group, monkeypatch, *RANKS, epoch(1), leaving={"a"}, verdict=verdict)
    assert told == ("STOPPED", [(1, verdict.value)])
