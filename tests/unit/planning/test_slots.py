import pytest

from automl.distributed.groups import Group
from automl.errors import UsageError
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
