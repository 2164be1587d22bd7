import pytest

from automl.errors import UsageError
from automl.planning.groups import Group
from automl.planning.slots import Slots, slots_of


def group_of(workers: int, on_gpu: bool, placement: str = "pack") -> Group:
    return Group(workers=workers, gpus=1.0 if on_gpu else 0.0, placement=placement)


LAPTOP = [{"CPU": 2.0}]
TWO_NODES = [{"CPU": 8.0}, {"CPU": 8.0}]
GPUS_AND_HEAD = [{"CPU": 32.0}, {"CPU": 16.0, "GPU": 2.0}, {"CPU": 16.0, "GPU": 2.0}]


@pytest.mark.parametrize(
    ("nodes", "workers", "on_gpu", "wanted", "expected"),
    [
        (LAPTOP, 1, False, "auto", Slots(2, 1)),
        (LAPTOP, 1, False, 1, Slots(1, 2)),
        (LAPTOP, 2, False, "auto", Slots(1, 1)),
        (TWO_NODES, 1, False, 1, Slots(1, 8)),
        (TWO_NODES, 1, False, 3, Slots(3, 4)),
        (TWO_NODES, 2, False, 1, Slots(1, 8)),
        (GPUS_AND_HEAD, 1, True, "auto", Slots(4, 8)),
        (GPUS_AND_HEAD, 1, True, 1, Slots(1, 16)),
        ([{"CPU": 0.0}, {"CPU": 4.0}], 1, False, 100, Slots(4, 1)),
    ],
)
def test_workers_are_shared_out_over_nodes_and_never_span_two(
    nodes, workers, on_gpu, wanted, expected
):
    assert slots_of(nodes, group_of(workers, on_gpu), wanted=wanted) == expected


@pytest.mark.parametrize(("on_gpu", "kind"), [(False, "CPUs"), (True, "GPUs")])
def test_a_group_that_fits_nowhere_is_refused(on_gpu, kind):
    nodes = [{"CPU": 2.0, "GPU": 1.0}]
    with pytest.raises(UsageError, match=rf"given 3; allowed here: at most \d, the {kind}"):
        slots_of(nodes, group_of(3, on_gpu), wanted="auto")


@pytest.mark.parametrize(
    ("placement", "told"),
    [
        (
            "strict_pack",
            (
                "train.workers: given 3; allowed here: at most 2, the GPUs of this Ray cluster: a"
                " trial takes 3 x 1 CPU and 1 GPU, all on one node (train.placement: "
                "strict_pack); the largest of 3 nodes has 2 GPUs and 16 CPUs, all together 4 GPUs"
                " and 64 CPUs. Use --workers-per-trial 2 or fewer, let train.placement be pack, "
                "start larger nodes, or train on CPUs (train.device: cpu); workers that come by "
                "demand need --wait-for-workers"
            ),
        ),
        (
            "strict_spread",
            (
                "train.workers: given 3; allowed here: at most 2, the GPUs of this Ray cluster: a"
                " trial takes 3 x 1 CPU and 1 GPU, each on another node (train.placement: "
                "strict_spread); the largest of 3 nodes has 2 GPUs and 16 CPUs, all together 4 "
                "GPUs and 64 CPUs. Use --workers-per-trial 2 or fewer, let train.placement be "
                "spread, start more nodes, or train on CPUs (train.device: cpu); workers that "
                "come by demand need --wait-for-workers"
            ),
        ),
    ],
)
def test_a_refusal_says_what_is_asked_what_there_is_and_what_helps(placement, told):
    with pytest.raises(UsageError) as refused:
        slots_of(GPUS_AND_HEAD, group_of(3, True, placement), wanted="auto")
    assert str(refused.value) == told


def test_a_cluster_without_nodes_for_trials_is_told_of():
    with pytest.raises(UsageError, match=r"at most 0.*takes 1 CPU; there is no node for trials"):
        slots_of([], group_of(1, False), wanted="auto")


def test_threads_are_those_of_groups_that_lie_as_declared():
    nodes = [{"CPU": 8.0}, {"CPU": 2.0}]
    assert slots_of(nodes, group_of(2, False, "strict_spread"), wanted=1) == Slots(1, 2)
    assert slots_of(nodes, group_of(2, False, "strict_pack"), wanted=1) == Slots(1, 4)
