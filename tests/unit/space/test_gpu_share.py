"""Which share of a GPU a training fits into."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl.space.gpu_share import SHARES, memory_fraction, smallest_share

GIB = 2**30
TOTALS = st.integers(4 * GIB, 192 * GIB)


@pytest.mark.parametrize(
    ("peak_gib", "total_gib", "share"),
    [
        (1.0, 24, 0.25),
        (4.2, 24, 0.25),  # with a margin of a fifth 5.04; a quarter leaves 5.22
        (5.0, 24, 0.33),
        (7.0, 24, 0.5),
        (9.5, 24, 1.0),
        (30.0, 24, 1.0),
        (15.0, 80, 0.25),
        (1.0, 4, 0.5),
    ],
)
def test_the_smallest_share_that_holds_the_peak_with_a_margin(peak_gib, total_gib, share):
    assert smallest_share(int(peak_gib * GIB), total_gib * GIB) == share


@given(peak=st.integers(0, 200 * GIB), total=TOTALS)
def test_a_share_below_one_has_room_for_the_peak_a_fifth_and_a_context(peak, total):
    share = smallest_share(peak, total)
    assert share in SHARES
    if share < 1:
        assert 1.2 * peak + 800 * 2**20 <= share * total + 1


@given(more=st.integers(0, 20 * GIB), peak=st.integers(0, 20 * GIB), total=TOTALS)
def test_who_takes_more_gets_no_less(more, peak, total):
    assert smallest_share(peak + more, total) >= smallest_share(peak, total)


@given(share=st.sampled_from(SHARES), total=TOTALS)
def test_all_that_share_a_gpu_fit_on_it_together(share, total):
    beside = int(1 / share)
    assert 0 < memory_fraction(share, total) <= share
    assert beside * memory_fraction(share, total) <= 1


def test_a_trial_that_has_a_gpu_to_itself_has_all_of_its_memory():
    assert memory_fraction(1.0, 8 * GIB) == 1.0
