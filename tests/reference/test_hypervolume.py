"""The hypervolume against two independent definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl.ranking import hypervolume


@st.composite
def grids(draw):
    dimension = draw(st.integers(1, 4))
    row = st.lists(st.integers(0, 5), min_size=dimension, max_size=dimension)
    return draw(st.lists(row, max_size=7)), dimension


@settings(deadline=None)
@given(grid=grids())
def test_on_a_grid_it_is_the_number_of_dominated_unit_cells(grid):
    losses, dimension = grid
    cells = itertools.product(range(4), repeat=dimension)
    dominated = sum(
        any(all(x <= c for x, c in zip(row, cell, strict=True)) for row in losses) for cell in cells
    )
    assert hypervolume(losses, [4] * dimension) == pytest.approx(dominated)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), dimension=st.integers(1, 5), count=st.integers(1, 7))
def test_it_is_the_volume_of_a_union_of_boxes_by_inclusion_and_exclusion(seed, dimension, count):
    losses = np.random.default_rng(seed).random((count, dimension)) * 1.2
    expected = 0.0
    for size in range(1, count + 1):
        for boxes in itertools.combinations(losses, size):
            sides = np.clip(1.0 - np.max(boxes, axis=0), 0.0, None)
            expected -= (-1) ** size * float(np.prod(sides))
    assert hypervolume(losses, [1.0] * dimension) == pytest.approx(expected, abs=1e-9)
