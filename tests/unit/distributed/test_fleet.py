"""A cluster whose nodes come and go, as a value that the test sets."""

import pytest

from automl.distributed.cluster import Autoscaler, ClusterState, Node
from automl.distributed.fleet import Demand, ElasticFleet
from automl.errors import StudyError
from automl.planning.groups import Group


class Twin:
    """A cluster in memory, and the clock and the ears of its fleet."""

    def __init__(self, *cpus: float) -> None:
        self.now = 100.0
        self.heard: list[str] = []
        self.autoscaler: Autoscaler | None = None
        self.leaving: set[int] = set()
        self.cpus: list[float] = list(cpus)
        self.reads = 0

    def read(self) -> ClusterState:
        self.reads += 1
        nodes = tuple(
            Node(
                node_id=f"id{index}",
                address=f"10.0.0.{index}",
                resources={"CPU": cpus},
                leaving=index in self.leaving,
            )
            for index, cpus in enumerate(self.cpus)
            if cpus > 0
        )
        return ClusterState(nodes=nodes, autoscaler=self.autoscaler)

    def fleet(self, *, wanted="auto", threads=1, **group) -> ElasticFleet:
        demand = Demand(group=Group(**{"workers": 1, **group}), threads=threads, wanted=wanted)
        return ElasticFleet(self, demand, clock=lambda: self.now, say=self.heard.append)

    def later(self, seconds: float = 5.0) -> None:
        self.now += seconds


def test_the_count_follows_the_nodes_and_the_threads_stay():
    twin = Twin(4)
    fleet = twin.fleet(threads=2)
    assert fleet.places() == 2
    twin.cpus.append(4)
    twin.later()
    assert fleet.places() == 4
    twin.cpus[0] = 0
    twin.later()
    assert fleet.places() == 2
    assert twin.heard == [
        "cluster  2 nodes: room for 4 trials",
        "cluster  1 node: room for 2 trials",
    ]


def test_no_more_run_than_are_wanted():
    twin = Twin(2)
    fleet = twin.fleet(wanted=3)
    assert fleet.places() == 2, "nobody brings a machine for the third"
    twin.later()
    fleet.places()
    assert twin.heard == []
    twin.cpus.append(8)
    twin.later()
    assert fleet.places() == 3
    twin.cpus.append(8)
    twin.later()
    assert fleet.places() == 3
    assert twin.heard == ["cluster  2 nodes: room for 3 trials"]


def test_an_autoscaler_is_asked_for_what_is_wanted_until_it_has_no_more():
    twin = Twin(1)
    twin.autoscaler = Autoscaler()
    fleet = twin.fleet(wanted=5)
    assert fleet.places() == 5, "four wait for machines, and make them come"
    twin.autoscaler = Autoscaler(refused=([{"CPU": 1.0}],))
    twin.later()
    assert fleet.places() == 1
    twin.autoscaler = Autoscaler(refused=([{"CPU": 64.0}],))
    twin.later()
    assert fleet.places() == 5, "what it refuses is another's"


def test_auto_asks_for_no_machine_but_the_first():
    twin = Twin(3)
    twin.autoscaler = Autoscaler()
    fleet = twin.fleet()
    assert fleet.places() == 3
    twin.cpus[0] = 0
    twin.later()
    assert fleet.places() == 1


def test_a_node_that_is_about_to_go_has_no_places_and_is_told_of_once():
    twin = Twin(2, 2)
    fleet = twin.fleet()
    assert not fleet.is_leaving("id1")
    twin.leaving.add(1)
    twin.later()
    assert fleet.is_leaving("id1")
    assert not fleet.is_leaving("id0")
    assert fleet.places() == 2
    twin.later()
    fleet.places()
    told = [line for line in twin.heard if "about to go" in line]
    assert told == [
        (
            "cluster  node 10.0.0.1 is about to go: its trials move at the end of their epoch, "
            "and none starts there"
        )
    ]


def test_that_nothing_fits_is_said_after_a_while_and_rarely():
    twin = Twin(2, 4)
    fleet = twin.fleet(workers=3, placement="strict_pack")
    twin.cpus[1] = 0
    for _ in range(100):
        twin.later()
        assert fleet.places() == 1, "one waits for the next node"
    assert twin.heard == [
        (
            "cluster  no node can run a trial now: it takes 3 x 1 CPU, all on one node "
            "(train.placement: strict_pack); the largest of 1 node has 2 CPUs, all together 2 "
            "CPUs, and no autoscaler is known of. Waiting for a node; Ctrl-C stops, and the same "
            "command continues the study"
        )
    ]
    for _ in range(100):
        twin.later(6.0)
        fleet.places()
    assert len(twin.heard) == 2
    twin.cpus[1] = 4
    twin.later()
    assert fleet.places() == 1
    assert twin.heard[-1] == "cluster  2 nodes: room for 1 trial"


@pytest.mark.parametrize(("refused", "lines"), [((), 0), (([{"CPU": 1.0}],), 1)])
def test_while_a_machine_is_on_its_way_nothing_is_said(refused, lines):
    twin = Twin(1)
    twin.autoscaler = Autoscaler(refused=refused)
    fleet = twin.fleet()
    twin.cpus[0] = 0
    for _ in range(10):
        twin.later()
        fleet.places()
    assert len(twin.heard) == lines
    assert all("the autoscaler has no machine for it" in line for line in twin.heard)


def test_a_short_gap_is_nothing_to_speak_of():
    twin = Twin(1)
    fleet = twin.fleet()
    for cpus in (0, 1, 0, 1):
        twin.cpus[0] = cpus
        for _ in range(2):
            twin.later()
            fleet.places()
    assert twin.heard == []


def test_a_cluster_that_does_not_answer_is_what_it_was():
    twin = Twin(2)
    fleet = twin.fleet()
    twin.cpus.append(2)
    answer = twin.read

    def silent() -> ClusterState:
        raise StudyError("the Ray cluster does not answer")

    twin.read = silent
    twin.later()
    assert fleet.places() == 2
    twin.read = answer
    twin.later()
    assert fleet.places() == 4


def test_the_cluster_is_not_asked_at_every_step():
    twin = Twin(1)
    fleet = twin.fleet()
    before = twin.reads
    for _ in range(100):
        twin.later(0.1)
        fleet.places()
        fleet.is_leaving("id0")
    assert twin.reads - before <= 6
