"""Which channels go: arithmetic on scores."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from automl.compression.choice import (
    GRID,
    MAX_RATIO,
    SHARES,
    ScoredGroup,
    kept_channels,
    least_important,
)


def group(scores, *, blocks=1, full=None):
    width = len(scores) if full is None else full
    values = torch.tensor(scores, dtype=torch.float32)
    return ScoredGroup(scores=values, blocks=blocks, full_width=width)


scores_of = st.lists(st.floats(0.01, 10), min_size=16, max_size=64)
groups_of = st.lists(scores_of, min_size=1, max_size=4)


@given(scores_of, st.floats(0, 0.9))
def test_the_lowest_scores_go_and_the_grid_is_kept(scores, ratio):
    gone = least_important(group(scores), ratio)
    kept = [score for place, score in enumerate(scores) if place not in gone]
    assert len(kept) == kept_channels(len(scores), ratio)
    if gone:
        highest = max(torch.tensor([scores[place] for place in gone]).tolist())
        assert highest <= min(torch.tensor(kept).tolist())


def test_steps_end_where_one_pruning_would():
    """Counted from the full width: 32 channels lose a half, however many went before."""
    assert len(least_important(group([1.0] * 32), 0.5)) == 16
    assert len(least_important(group([1.0] * 24, full=32), 0.5)) == 8
    assert least_important(group([1.0] * 16, full=32), 0.5) == []
    assert least_important(group([1.0] * 8, full=32), 0.5) == []


def test_blocks_shrink_alike():
    gone = least_important(group([1, 2, 3, 4, 5, 6, 7, 8] * 4, blocks=2), 0.5)
    assert [place - 16 for place in gone if place >= 16] == [p for p in gone if p < 16]
    assert len(gone) == 16


@given(groups_of, st.floats(0, 0.85))
def test_globally_the_share_of_all_channels_goes_and_no_group_goes_whole(scores, ratio):
    groups = [group(one) for one in scores]
    shares = SHARES["global"](groups, ratio)
    total = sum(one.full_width for one in groups)
    gone = sum(share * one.full_width for share, one in zip(shares, groups, strict=True))
    assert gone == pytest.approx(ratio * total, abs=1 + 0.1 * total)
    assert gone <= ratio * total + 1e-6
    assert all(0 <= share <= MAX_RATIO for share in shares)


def test_globally_the_channels_that_matter_less_in_their_group_go_first():
    flat, peaked = group([1.0] * 32), group([0.01] * 24 + [5.0] * 8)
    flat_share, peaked_share = SHARES["global"]([flat, peaked], 0.375)
    assert (flat_share, peaked_share) == (0, 0.75)
    # In units of each group's mean: a layer of small weights is not a layer that does not matter.
    small = group([1e-4] * 32)
    assert SHARES["global"]([small, peaked], 0.375) == [0, 0.75]


def test_globally_what_went_before_counts():
    halved = group([1.0] * 16, full=32)
    whole = group([0.1] * 16 + [2.0] * 16)
    shares = SHARES["global"]([halved, whole], 0.5)
    assert shares == [0.5, 0.5]


def test_by_layer_every_group_has_the_ratio():
    groups = [group([1.0] * GRID), group([2.0] * 32)]
    assert SHARES["layer"](groups, 0.3) == [0.3, 0.3]
