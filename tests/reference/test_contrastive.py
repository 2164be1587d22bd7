"""NT-Xent against Chen et al. 2020, eq. 1, in loops; and its gradient against differences."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from automl.training.contrastive import ContrastiveLoss, nt_xent


def rows(images, values, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2 * images, values, generator=generator, dtype=torch.float64)


def by_definition(projected, temperature):
    """The mean over views i of -log(exp(s(i, j) / t) / sum over k != i of exp(s(i, k) / t))."""
    vectors = projected.tolist()
    count = len(vectors)

    def similarity(a, b):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))

    total = 0.0
    for i in range(count):
        j = i + count // 2 if i < count // 2 else i - count // 2
        others = [
            math.exp(similarity(vectors[i], vectors[k]) / temperature)
            for k in range(count)
            if k != i
        ]
        partner = math.exp(similarity(vectors[i], vectors[j]) / temperature)
        total -= math.log(partner / sum(others))
    return total / count


@given(
    images=st.integers(2, 6),
    values=st.integers(1, 5),
    temperature=st.floats(0.1, 2.0),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_loss_is_its_definition(images, values, temperature, seed):
    projected = rows(images, values, seed)
    expected = by_definition(projected, temperature)
    assert nt_xent(projected, temperature).item() == pytest.approx(expected, rel=1e-9)


@given(scale=st.floats(0.01, 100.0), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_only_directions_count_and_views_may_change_places(scale, seed):
    projected = rows(4, 3, seed)
    expected = nt_xent(projected, 0.5).item()
    assert nt_xent(scale * projected, 0.5).item() == pytest.approx(expected)
    assert nt_xent(projected.roll(4, 0), 0.5).item() == pytest.approx(expected)


def test_gradient_is_that_of_differences():
    projected = rows(3, 4, 0).requires_grad_()
    assert torch.autograd.gradcheck(lambda given: nt_xent(given, 0.3), (projected,))


def test_views_that_agree_alone_cost_least():
    """Two images whose views coincide and are opposite to each other's: log(1 + 2 e^(-2 / t))."""
    first = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    loss = nt_xent(torch.cat([first, first]), 0.5)
    assert loss.item() == pytest.approx(math.log(1 + 2 * math.exp(-4)), rel=1e-5)


@pytest.mark.parametrize(("count", "temperature"), [(3, 0.5), (2, 0.5), (4, 0.0)])
def test_what_has_no_loss_is_refused(count, temperature):
    with pytest.raises(ValueError, match=r"needs two views|temperature"):
        nt_xent(torch.ones(count, 2), temperature)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_computes_no_similarity_in_half_precision(dtype):
    """At a temperature of 0.01 a similarity that is off by 2^-9, as in bfloat16, is off by 0.2."""
    projected = rows(8, 32, 1).to(dtype).requires_grad_()
    exact = projected.detach().double().requires_grad_()
    expected = nt_xent(exact, 0.01)
    with torch.autocast("cpu", torch.bfloat16):
        found = nt_xent(projected, 0.01)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    found.backward()
    expected.backward()
    tolerance = 1e-4 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(projected.grad.double(), exact.grad, rtol=tolerance, atol=tolerance)


def test_the_loss_of_a_step_under_autocast_is_that_of_its_own_projections():
    loss = ContrastiveLoss(5, temperature=0.02, seed=0)
    heads = []
    loss.head.register_forward_hook(lambda _module, _given, made: heads.append(made.detach()))
    images = torch.randn(8, 5, 3, 3, generator=torch.Generator().manual_seed(2))
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(lambda images_nchw: [images_nchw], images, torch.zeros(8, 1, 1))
    assert heads[0].dtype == torch.bfloat16
    assert found.item() == pytest.approx(nt_xent(heads[0].double(), 0.02).item(), rel=1e-5)
