import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl.errors import SpaceError
from automl.space.domains import Choice, FloatRange, IntRange

UNITS = st.floats(min_value=0.0, max_value=1.0, exclude_max=True)


@st.composite
def domains(draw):
    kind = draw(st.sampled_from(["choice", "int", "float"]))
    if kind == "choice":
        return Choice(options=tuple(draw(st.lists(st.integers(), min_size=1, unique=True))))
    if kind == "float":
        low = draw(st.floats(1e-6, 1e3))
        return FloatRange(low=low, high=low * draw(st.floats(1.1, 1e3)), log=draw(st.booleans()))
    low, count, step = (draw(st.integers(1, 50)) for _ in range(3))
    is_log = step == 1 and draw(st.booleans())
    return IntRange(low=low, high=low + count * step, step=step, log=is_log)


@given(domain=domains(), unit=UNITS)
def test_every_position_gives_a_value_of_the_domain(domain, unit):
    assert domain.contains(domain.at(unit))
    assert domain.contains(domain.default_value)


@given(domain=domains())
def test_size_counts_the_different_values(domain):
    values = {domain.at(i / 5000) for i in range(5000)}
    if domain.size is None:
        assert len(values) > 1000
    else:
        assert len(values) == domain.size


def test_a_log_range_gives_each_decade_its_share():
    domain = FloatRange(low=1e-4, high=1e-2, log=True)
    assert domain.at(0.5) == pytest.approx(1e-3)
    assert FloatRange(low=0.0, high=4.0).at(0.25) == 1.0


def test_the_default_is_the_one_given_else_the_first_or_the_middle():
    assert Choice(options=("a", "b")).default_value == "a"
    assert Choice(options=("a", "b"), default="b").default_value == "b"
    assert Choice(options=(True, False), default=False).default_value is False
    assert IntRange(low=16, high=48, step=8).default_value == 32
    assert FloatRange(low=0.0, high=1.0, default=0.0).default_value == 0.0


def test_true_is_not_one():
    assert not Choice(options=(True, False)).contains(1)
    assert not Choice(options=(0, 1)).contains(value=True)
    assert not IntRange(low=0, high=3).contains(value=True)


def test_contains_respects_bounds_and_steps():
    domain = IntRange(low=16, high=48, step=8)
    assert [value for value in range(60) if domain.contains(value)] == [16, 24, 32, 40, 48]
    assert not domain.contains("16")
    assert not FloatRange(low=0.0, high=1.0).contains(1.01)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Choice(options=()), "at least one option"),
        (lambda: Choice(options=("a", "b", "a")), "must differ"),
        (lambda: Choice(options=("a",), default="b"), "default must be in the domain, given 'b'"),
        (lambda: IntRange(low=5, high=5), "low < high"),
        (lambda: IntRange(low=1, high=5, step=0), "step >= 1"),
        (lambda: IntRange(low=16, high=50, step=8), r"nearest allowed: \[16, 48\]"),
        (lambda: IntRange(low=0, high=5, log=True), "log needs low > 0"),
        (lambda: IntRange(low=8, high=64, step=8, log=True), "list the values as choice"),
        (lambda: IntRange(low=8, high=64, step=8, default=12), "default must be in the domain"),
        (lambda: FloatRange(low=2.0, high=1.0), "low < high"),
        (lambda: FloatRange(low=0.0, high=1.0, log=True), "log needs low > 0"),
        (lambda: FloatRange(low=0.0, high=1.0, default=1.5), "default must be in the domain"),
    ],
)
def test_a_bad_domain_is_refused(build, message):
    with pytest.raises(SpaceError, match=message):
        build()
