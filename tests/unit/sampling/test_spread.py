import numpy as np
import pytest

from automl.records import canonical_json
from automl.sampling.spread import Leftovers, halton
from automl.space.forms import parse_space


@pytest.mark.parametrize(("dimension", "base"), [(0, 2), (1, 3), (2, 5), (5, 13), (20, 73)])
def test_halton_points_fill_every_interval_before_any_twice(dimension, base):
    for count in (base, base**2):
        points = [halton(index, dimension, seed=4) for index in range(count)]
        assert sorted(int(point * count) for point in points) == list(range(count))


def test_halton_dimensions_are_not_correlated():
    points = np.array([[halton(i, d, seed=0) for d in range(14)] for i in range(64)])
    assert ((points >= 0) & (points < 1)).all()
    off_diagonal = np.corrcoef(points.T)[~np.eye(14, dtype=bool)]
    assert np.abs(off_diagonal).max() < 0.5


def test_leftovers_walk_through_every_configuration_once():
    space = parse_space(
        {
            "decoder_width": {"int": [32, 96], "step": 32, "when": {"decoder": ["fpn"]}},
            "encoder": {"choice": ["a", "b"]},
            "decoder": {"choice": ["unet", "fpn"]},
            "pretrained": True,
        }
    )
    tried, found = set(), []
    leftovers = Leftovers(space)
    while (params := leftovers.first(tried)) is not None:
        assert leftovers.first(tried) == params
        assert space.restrict(params) == params == space.complete(params)
        found.append(params)
        tried.add(canonical_json(params))
    assert len(tried) == len(found) == space.size == 8


def test_leftovers_skip_what_was_tried_and_give_up_on_a_continuum():
    space = parse_space({"encoder": {"choice": ["a", "b", "c"]}})
    assert Leftovers(space).first({'{"encoder":"a"}', '{"encoder":"b"}'}) == {"encoder": "c"}
    assert Leftovers(parse_space({"alpha": {"float": [0, 1]}})).first(set()) is None
