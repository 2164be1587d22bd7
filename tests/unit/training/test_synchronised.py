"""Batch norms over ranks, where one process is all of them; `test_ddp.py` has two."""

import copy

import pytest
import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d
from torch import nn

from automl.training import synchronised as module
from automl.training.synchronised import shared_batch_norm, synchronised, unsynchronised_norms


@pytest.fixture
def part_nchw():
    # A mean far above the deviation, which the sum of squares must survive.
    return torch.randn(3, 4, 5, 2, generator=torch.Generator().manual_seed(1)) * 0.1 + 100


def weights(dtype):
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(4, generator=generator).to(dtype).requires_grad_() for _ in range(2)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-7), (torch.float32, 2e-3)])
@pytest.mark.parametrize("affine", [True, False])
def test_alone_it_is_batch_norm(part_nchw, dtype, tolerance, affine):
    found = []
    for norm in (F.batch_norm, shared_batch_norm):
        part = part_nchw.to(dtype, copy=True).requires_grad_()
        weight, bias = weights(dtype) if affine else (None, None)
        mean, var = torch.zeros(4, dtype=dtype), torch.ones(4, dtype=dtype)
        normed = norm(part, mean, var, weight, bias, training=True, momentum=0.3, eps=1e-3)
        (normed**3).sum().backward()
        gradients = [value.grad for value in (part, weight, bias) if value is not None]
        found.append([normed.detach(), mean, var, *gradients])
    for expected, given in zip(*found, strict=True):
        torch.testing.assert_close(given, expected, rtol=tolerance, atol=tolerance)


def test_gradients_are_those_of_differences():
    part = torch.randn(2, 4, 2, 1, dtype=torch.float64, requires_grad=True)
    weight, bias = weights(torch.float64)

    def norm(*given):
        return shared_batch_norm(given[0], None, None, *given[1:], training=True)

    assert torch.autograd.gradcheck(norm, (part, weight, bias))


def test_lower_precisions_have_statistics_in_fp32(part_nchw):
    mean, var = torch.zeros(4), torch.ones(4)
    part = part_nchw.bfloat16().requires_grad_()
    normed = shared_batch_norm(part, mean, var, *weights(torch.float32), True, 1.0)
    normed.sum().backward()
    assert normed.dtype == part.grad.dtype == torch.bfloat16
    exact = part.detach().double()
    torch.testing.assert_close(mean, exact.mean((0, 2, 3)).float(), rtol=1e-6, atol=0)
    torch.testing.assert_close(var, exact.var((0, 2, 3)).float(), rtol=1e-4, atol=0)


@pytest.fixture
def three_ranks(monkeypatch):
    """Have the other two ranks hold what this one has."""
    monkeypatch.setattr(module, "world_size", lambda: 3)
    monkeypatch.setattr(module, "sum_over_ranks", lambda values: 3 * values)


def test_norms_of_all_classes_share_in_the_block_alone(three_ranks, part_nchw, monkeypatch):
    model = nn.Sequential(nn.BatchNorm2d(4), BatchNormAct2d(4))
    names = list(model.state_dict())
    calls = []
    monkeypatch.setattr(
        module, "shared_batch_norm", lambda *given, **named: calls.append(1) or given[0]
    )
    with synchronised(model):
        found = model(-part_nchw)
        assert not found.any()  # what timm's does after the norm, ReLU, is done
    assert len(calls) == 2
    model(part_nchw)
    assert len(calls) == 2
    assert list(model.state_dict()) == names
    assert [type(norm) for norm in model] == [nn.BatchNorm2d, BatchNormAct2d]


def test_evaluation_is_as_ever(three_ranks, part_nchw):
    model = nn.Sequential(nn.BatchNorm2d(4)).eval()
    expected = model(part_nchw)
    before = copy.deepcopy(model.state_dict())
    with synchronised(model):
        assert torch.equal(model(part_nchw), expected)
    assert all(map(torch.equal, model.state_dict().values(), before.values()))


def test_norms_that_see_their_own_part_alone_are_found(three_ranks, monkeypatch):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), BatchNormAct2d(4))
    before = copy.deepcopy(model.state_dict())
    assert unsynchronised_norms(model) == ["1", "2"]
    # What three ranks have together: the first one's ones, and zeros of the others.
    monkeypatch.setattr(
        module, "sum_over_ranks", lambda values: values * values.new_tensor([1.0] * 8 + [3.0])
    )
    with synchronised(model):
        assert unsynchronised_norms(model) == []
    assert all(map(torch.equal, model.state_dict().values(), before.values()))


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm1d(4), nn.SyncBatchNorm(4), nn.InstanceNorm2d(4, track_running_stats=True)]
)
def test_norms_of_another_kind_are_refused(norm):
    model = nn.ModuleDict({"body": nn.Sequential(nn.Conv2d(3, 4, 1), norm)})
    told = rf"sync_batch_norm knows nn.BatchNorm2d .* not body.1 \({type(norm).__name__}\)"
    with pytest.raises(TypeError, match=told), synchronised(model):
        pass


def test_norms_without_running_statistics_concern_nobody():
    with synchronised(nn.Sequential(nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.LayerNorm(4))):
        pass
