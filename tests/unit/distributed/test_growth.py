"""What a search asks a growing cluster for."""

import pytest

from automl.space.experiment import Experiment


@pytest.mark.parametrize(
    ("sections", "demand"),
    [
        ({}, [[{"CPU": 1.0}]]),
        ({"search": {"concurrent": 2}}, [[{"CPU": 1.0}]] * 2),
        (
            {"search": {"concurrent": 2}, "train": {"device": "cuda", "workers": 2}},
            [[{"CPU": 1.0, "GPU": 1.0}] * 2] * 2,
        ),
    ],
)
def test_demand_is_that_of_the_trials_at_a_time(sections, demand):
    from automl.distributed.growth import demand_of

    wanted = demand_of(Experiment.from_json({"space": {"alpha": 0.5}, **sections}))
    assert [wanted.group.bundles(1)] * wanted.trials == demand


class Answering:
    """A cluster whose autoscaler refuses what the test says."""

    refused = ()

    def read(self):
        from automl.distributed.cluster import Autoscaler, ClusterState

        return ClusterState(nodes=(), autoscaler=Autoscaler(refused=self.refused))


def test_what_an_autoscaler_refuses_for_a_while_beside_nobody_never_comes():
    from automl.distributed.growth import Refusal
    from automl.planning.groups import Group

    cluster, now = Answering(), [0.0]
    group = Group(workers=2)
    refusal = Refusal(cluster, group, clock=lambda: now[0])

    def asked_after(seconds, *, others=False):
        now[0] += seconds
        return refusal.groups_refused(others_at_work=others)

    assert not asked_after(60), "it has not answered yet"
    cluster.refused = ([{"CPU": 1.0}] * 2,) * 3
    assert not asked_after(1)
    assert not asked_after(5)
    assert not asked_after(20, others=True), "what others hold may become free"
    assert not asked_after(1)
    assert asked_after(11) == 3
    cluster.refused = ([{"CPU": 1.0}] * 3,)
    assert not asked_after(60), "that is another's"
