"""How many groups nodes hold, against trying all ways of placing them."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl.planning.groups import Group, groups_on, most_workers, workers_on

TWO = [{"CPU": 2.0}, {"CPU": 2.0}]
PLACEMENTS = ["pack", "spread", "strict_pack", "strict_spread"]


@pytest.mark.parametrize(
    ("placement", "workers", "nodes", "groups"),
    [
        ("strict_pack", 3, TWO, 0),
        ("pack", 3, TWO, 1),
        ("spread", 3, TWO, 1),
        ("strict_spread", 3, TWO, 0),
        ("strict_spread", 2, TWO, 2),
        ("strict_pack", 2, TWO, 2),
        ("strict_spread", 2, [{"CPU": 5.0}, {"CPU": 1.0}], 1),
        ("strict_spread", 2, [{"CPU": 4.0}], 0),
        ("pack", 1, [], 0),
    ],
)
def test_a_strict_placement_fits_where_its_nodes_allow_it(placement, workers, nodes, groups):
    assert groups_on(nodes, Group(workers=workers, placement=placement), 1) == groups


@settings(max_examples=60, deadline=None)
@given(
    free=st.lists(st.integers(0, 3), min_size=1, max_size=3),
    workers=st.integers(1, 3),
    placement=st.sampled_from(PLACEMENTS),
)
def test_the_count_is_the_most_that_any_placing_reaches(free, workers, placement):
    nodes = [{"CPU": float(count)} for count in free]
    group = Group(workers=workers, placement=placement)
    assert groups_on(nodes, group, 1) == most_by_trying(tuple(free), workers, placement)


def most_by_trying(free: tuple[int, ...], workers: int, placement: str) -> int:
    best = 0
    for lying in product(range(len(free)), repeat=workers):
        distinct = len(set(lying))
        if placement == "strict_pack" and distinct > 1:
            continue
        if placement == "strict_spread" and distinct < workers:
            continue
        left = [count - lying.count(node) for node, count in enumerate(free)]
        if min(left) >= 0:
            best = max(best, 1 + most_by_trying(tuple(left), workers, placement))
    return best


@given(
    free=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    placement=st.sampled_from(PLACEMENTS),
)
def test_the_most_workers_fit_and_one_more_does_not(free, placement):
    nodes = [{"CPU": float(count)} for count in free]
    most = most_workers(nodes, Group(workers=1, placement=placement))
    if most > 0:
        assert groups_on(nodes, Group(workers=most, placement=placement), 1) >= 1
    assert groups_on(nodes, Group(workers=most + 1, placement=placement), 1) == 0


@pytest.mark.parametrize(
    ("gpus", "node", "workers"),
    [
        (1.0, {"CPU": 16.0, "GPU": 2.0}, 2),
        (0.5, {"CPU": 16.0, "GPU": 2.0}, 4),
        (0.33, {"CPU": 16.0, "GPU": 2.0}, 6),
        (0.25, {"CPU": 16.0, "GPU": 2.0}, 8),
        (0.25, {"CPU": 3.0, "GPU": 2.0}, 3),
        (0.25, {"CPU": 16.0}, 0),
        (0.4, {"CPU": 16.0, "GPU": 2.0}, 4),
    ],
)
def test_a_share_of_a_gpu_lies_on_one_gpu(gpus, node, workers):
    assert workers_on(node, Group(workers=1, gpus=gpus), 1) == workers


def test_what_a_group_asks_ray_for():
    group = Group(workers=2, gpus=1.0, placement="strict_spread")
    assert group.bundles(3) == [{"CPU": 3.0, "GPU": 1.0}] * 2
    assert group.strategy == "STRICT_SPREAD"
    assert Group(workers=1).bundles(1) == [{"CPU": 1.0}]
