"""What is read from Ray's own account of an autoscaler."""

import pytest

from automl.distributed.cluster import Autoscaler, ClusterState, Node


@pytest.fixture
def reply():
    """Make Ray's answer: nodes by their names in a cloud, groups without machines by their CPUs."""
    from automl.distributed import connection

    connection.prepare_environment()
    from ray.core.generated import autoscaler_pb2

    def make(version=1, instances=("head",), refused=()):
        made = autoscaler_pb2.GetClusterStatusReply()
        made.autoscaling_state.autoscaler_state_version = version
        for name in instances:
            made.cluster_resource_state.node_states.add(instance_id=name)
        for cpus in refused:
            gang = made.autoscaling_state.infeasible_gang_resource_requests.add()
            for amount in cpus:
                gang.requests.add().resources_bundle["CPU"] = amount
        return made

    return make


def test_what_an_autoscaler_has_no_machine_for(reply):
    from automl.distributed.cluster import autoscaler_of

    found = autoscaler_of(reply(refused=[(2.0,), (1.0, 1.0)]))
    assert found == Autoscaler(refused=([{"CPU": 2.0}], [{"CPU": 1.0}, {"CPU": 1.0}]))
    assert found.refusals([{"CPU": 2.0}]) == 1
    assert found.refusals(({"CPU": 1.0}, {"CPU": 1.0})) == 1
    assert found.refusals([{"CPU": 1.0}]) == 0
    assert found.refusals([{"CPU": 2.0, "GPU": 1.0}]) == 0
    assert autoscaler_of(reply()) == Autoscaler()


@pytest.mark.parametrize("given", [{"version": 0}, {"instances": [""]}, {"instances": []}])
def test_a_cluster_of_machines_started_by_hand_has_no_autoscaler(reply, given):
    from automl.distributed.cluster import autoscaler_of

    assert autoscaler_of(reply(refused=[(2.0,)], **given)) is None


def test_a_node_that_is_about_to_go_offers_nothing():
    nodes = [
        Node(node_id=name, address=name, resources={"CPU": 2.0}, leaving=leaving)
        for name, leaving in (("a", False), ("b", True))
    ]
    assert ClusterState(nodes=tuple(nodes)).staying() == [{"CPU": 2.0}]
