import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl.fidelity import FULL, Fidelity, Stretch, rung_epochs, scaled_size


@pytest.mark.parametrize(
    ("min_epochs", "max_epochs", "eta", "rungs"),
    [(1, 12, 3, (1, 3, 9)), (2, 12, 3, (2, 6)), (1, 9, 3, (1, 3)), (4, 4, 2, ()), (5, 2, 3, ())],
)
def test_rungs_grow_by_eta_and_end_before_the_last_epoch(min_epochs, max_epochs, eta, rungs):
    assert rung_epochs(min_epochs, max_epochs, eta) == rungs


@pytest.mark.parametrize(("min_epochs", "eta"), [(0, 3), (1, 1)])
def test_rungs_that_would_never_grow_are_refused(min_epochs, eta):
    with pytest.raises(ValueError, match="must hold"):
        rung_epochs(min_epochs, 12, eta)


STEPPED = Fidelity(
    stretches=(
        Stretch(last_epoch=1, data_share=0.25, size_share=0.5),
        Stretch(last_epoch=3, data_share=0.5),
        Stretch(last_epoch=9),
    )
)


def test_each_epoch_belongs_to_the_stretch_that_it_ends_or_lies_in():
    shares = [STEPPED.at(epoch).data_share for epoch in range(1, 12)]
    assert shares == [0.25, 0.5, 0.5] + [1.0] * 8
    assert STEPPED.at(2).size_share == 1.0
    assert FULL.at(5) == Stretch(last_epoch=5)


def test_cost_counts_full_epochs():
    assert FULL.costs(3, (96, 96)) == (1.0, 1.0, 1.0)
    assert STEPPED.costs(5, (64, 64)) == (0.25 * 0.25, 0.5, 0.5, 1.0, 1.0)
    # Half of 96 is rounded to 64.
    assert STEPPED.costs(1, (96, 96)) == (pytest.approx(0.25 * (64 / 96) ** 2),)


@pytest.mark.parametrize(
    ("size", "share", "expected"),
    [
        ((64, 64), 0.5, (32, 32)),
        ((192, 256), 0.5, (96, 128)),
        ((192, 256), 0.01, (32, 32)),
        ((96, 160), 0.5, (64, 96)),
        ((96, 160), 1.0, (96, 160)),
        ((16, 48), 1.0, (16, 48)),
        ((16, 16), 0.5, (16, 16)),
    ],
)
def test_sides_are_the_nearest_multiples_of_32(size, share, expected):
    assert scaled_size(size, share) == expected


SIDES = st.integers(1, 64).map(lambda count: 32 * count)


@given(st.tuples(SIDES, SIDES), st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_a_larger_share_is_never_smaller_and_none_exceeds_the_whole(size, one, other):
    less, more = sorted([one, other])
    for whole, small, large in zip(
        size, scaled_size(size, less), scaled_size(size, more), strict=True
    ):
        assert 32 <= small <= large <= whole
        assert small % 32 == 0
        assert abs(large - max(32.0, whole * more)) <= 16


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01])
@pytest.mark.parametrize("name", ["data_share", "size_share"])
def test_shares_beyond_their_limits_are_refused(name, share):
    with pytest.raises(ValueError, match=f"{name} must be above 0 and at most 1, got {share}"):
        Stretch(last_epoch=1, **{name: share})


def test_stretches_that_do_not_follow_each_other_are_refused():
    with pytest.raises(ValueError, match="end after the one before it"):
        Fidelity(stretches=(Stretch(last_epoch=3), Stretch(last_epoch=3)))
    with pytest.raises(ValueError, match="last_epoch must be at least 1, got 0"):
        Stretch(last_epoch=0)
    with pytest.raises(ValueError, match="seed must not be negative, got -1"):
        Fidelity(seed=-1)
