import pytest
import torch
import torch.nn.functional as F

from automl.training.deep_supervision import DeepSupervision
from automl.training.losses import CombinedLoss


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 16, 16, generator=generator)
    return images, torch.randint(0, 3, (2, 16, 16), generator=generator)


def deep(weight=0.4, seed=0):
    return DeepSupervision(
        CombinedLoss(0.0, 0.0), weight=weight, map_channels=(4, 6, 8), num_classes=3, seed=seed
    )


def test_the_loss_is_its_definition(staged_net, batch):
    images, target = batch
    net, loss = staged_net().eval(), deep()
    logits, maps = net.forward_with_maps(images)
    wanted = F.cross_entropy(logits, target)
    for head, features in zip(loss.heads, maps[1:], strict=True):
        scores = torch.einsum("nchw,kc->nkhw", features, head.weight[:, :, 0, 0])
        scores = scores + head.bias[None, :, None, None]
        fine = torch.nn.Upsample(size=(16, 16), mode="bilinear")(scores)
        wanted = wanted + 0.4 / 2 * F.cross_entropy(fine, target)
    torch.testing.assert_close(loss(net, images, target), wanted)


def test_gradients_reach_the_encoder_through_the_heads_alone(staged_net, batch):
    net, loss = staged_net(), deep()
    for parameter in net.decoder.parameters():
        parameter.data.zero_()
    loss(net, *batch).backward()
    assert float(net.encoder.stages[2][0].weight.grad.abs().sum()) > 0
    assert all(head.weight.grad is not None for head in loss.heads)


def test_heads_come_from_their_seed_and_leave_randomness_alone():
    torch.manual_seed(4)
    state = torch.get_rng_state()
    one, same, other = deep(seed=1), deep(seed=1), deep(seed=2)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(one.heads[0].weight, same.heads[0].weight)
    assert not torch.equal(one.heads[0].weight, other.heads[0].weight)


def test_a_weight_of_nothing_is_refused():
    with pytest.raises(ValueError, match="weight must be positive, got 0"):
        deep(weight=0)
