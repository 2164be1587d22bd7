import pytest

from automl.errors import UsageError
from automl.training.group import LaunchedRank, launched_rank

WHOLE = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


def test_a_process_knows_its_place_in_the_group_that_torchrun_started():
    assert launched_rank(WHOLE) == LaunchedRank(
        rank=3, world_size=4, local_rank=1, local_world_size=2
    )


@pytest.mark.parametrize("environment", [{}, {"RANK": "0"}, {"HOME": "/", "LOCAL_RANK": "0"}])
def test_a_process_that_was_started_alone_has_none(environment):
    assert launched_rank(environment) is None


@pytest.mark.parametrize("name", ["LOCAL_RANK", "MASTER_PORT"])
def test_half_a_place_is_told(name):
    partial = {key: value for key, value in WHOLE.items() if key != name}
    with pytest.raises(UsageError, match=name):
        launched_rank(partial)
