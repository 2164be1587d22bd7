"""The average as a teacher: by how much, from when on, and what it leaves alone."""

import math

import pytest
import torch
from torch import nn

from automl.training.deep_supervision import DeepSupervision
from automl.training.elastic import ElasticLoss
from automl.training.loop import prepared
from automl.training.losses import CombinedLoss
from automl.training.recipe import Recipe
from automl.training.remembering import Remembering
from automl.training.self_distillation import Tutor, teaches_from
from automl.training.steps import Stepper, TrainingStep

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
TARGET = torch.randint(0, 3, (2, 16, 16), generator=torch.Generator().manual_seed(1))
SELF_TAUGHT = Recipe(ema_decay=0.9, ema_distillation=0.5)


def tutored(step, model, weight=0.5):
    step.tutor = Tutor(model.eval().requires_grad_(requires_grad=False), weight)
    return step


def mean_divergence(taught_nkhw, learnt_nkhw):
    """The mean over pixels of sum_k p_k log(p_k / q_k), in loops."""
    divergences = []
    for taught, learnt in zip(pixels_of(taught_nkhw), pixels_of(learnt_nkhw), strict=True):
        pairs = zip(softmax(taught), softmax(learnt), strict=True)
        divergences.append(sum(p * math.log(p / q) for p, q in pairs))
    return sum(divergences) / len(divergences)


def pixels_of(logits_nkhw):
    return logits_nkhw.detach().permute(0, 2, 3, 1).reshape(-1, logits_nkhw.shape[1]).tolist()


def softmax(logits):
    powers = [math.exp(logit) for logit in logits]
    return [power / sum(powers) for power in powers]


def test_the_term_is_the_mean_divergence_from_the_tutor(staged_net):
    tutor, logits = staged_net(seed=1), torch.randn(2, 3, 16, 16, requires_grad=True)
    found = Tutor(tutor.eval(), 0.3).term(logits, IMAGES)
    expected = 0.3 * mean_divergence(tutor(IMAGES), logits)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert found.item() != pytest.approx(0.3 * mean_divergence(logits, tutor(IMAGES)), rel=1e-2)
    found.backward()
    assert logits.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in tutor.parameters())


def test_who_agrees_with_the_tutor_loses_nothing(staged_net):
    tutor = staged_net(seed=1).eval()
    assert Tutor(tutor, 1.0).term(tutor(IMAGES), IMAGES).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("deep", [False, True])
def test_a_step_is_its_loss_and_the_term_of_one_pass(staged_net, supervised, deep):
    net, tutor, passes = staged_net().eval(), staged_net(seed=1), []
    loss = supervised
    if deep:
        loss = DeepSupervision(
            CombinedLoss(0.5, 2.0), weight=0.4, map_channels=(4, 6, 8), num_classes=3, seed=0
        )
    expected = loss(net, IMAGES, TARGET) + Tutor(tutor.eval(), 0.5).term(net(IMAGES), IMAGES)
    net.encoder.register_forward_hook(lambda *_: passes.append(1))
    step = tutored(TrainingStep(net, loss), tutor)
    torch.testing.assert_close(step(IMAGES, TARGET), expected)
    assert len(passes) == 1


def test_a_tutor_is_neither_trained_nor_saved_nor_switched(staged_net, supervised):
    step = TrainingStep(staged_net(), supervised)
    names = set(step.state_dict())
    tutored(step, staged_net(seed=1)).train()
    assert set(step.state_dict()) == names
    assert not step.tutor.model.training


def test_after_mixup_the_term_counts_once(staged_net, supervised):
    net, tutor = staged_net().eval(), staged_net(seed=1)
    plain = TrainingStep(net, supervised)(IMAGES, TARGET, 2 - TARGET)
    both = tutored(TrainingStep(net, supervised), tutor)(IMAGES, TARGET, 2 - TARGET)
    term = Tutor(tutor, 0.5).term(net(IMAGES), IMAGES)
    shares = torch.tensor([0.3, 0.7])
    torch.testing.assert_close((both * shares).sum(), (plain * shares).sum() + term)


def test_only_the_second_half_of_a_run_is_taught(
    dataset, staged_net, supervised, settings_for, recorder, monkeypatch
):
    taught, honest = [], Stepper._optimize

    def watching(stepper, group):
        taught.append(stepper.unwrapped.tutor is not None)
        return honest(stepper, group)

    monkeypatch.setattr(Stepper, "_optimize", watching)
    settings = settings_for(epochs=3, recipe=SELF_TAUGHT)
    with prepared(staged_net(), dataset, settings, step_loss=supervised) as run:
        run.to_the_end(recorder())
        assert run.stepper.timetable.total == len(taught) == 6
    assert taught == [False] * 3 + [True] * 3


@pytest.mark.parametrize(("steps", "first"), [(1, 0), (2, 1), (7, 3), (100, 50)])
def test_half_of_the_steps_come_first(steps, first):
    assert teaches_from(steps) == first


def test_the_teacher_is_the_average_as_it_is_at_the_step(
    dataset, staged_net, supervised, settings_for
):
    settings = settings_for(epochs=2, recipe=SELF_TAUGHT)
    with prepared(staged_net(), dataset, settings, step_loss=supervised) as run:
        run.stepper.set_tutor(run.stepper.timetable.total - 1)
        assert run.module.tutor == Tutor(run.stepper.average.model, 0.5)
        run.stepper.set_tutor(0)
        assert run.module.tutor is None


def test_a_loss_of_the_weights_sees_them_under_their_names(staged_net, supervised):
    """Behind a pass that is remembered, as after mixup or with a tutor."""
    net = staged_net().eval()
    anchors = {name: torch.zeros_like(value) for name, value in net.named_parameters()}
    fisher = {name: torch.ones_like(value) for name, value in anchors.items()}
    loss = ElasticLoss(CombinedLoss(0.5, 2.0), anchors=anchors, fisher=fisher, strength=1.0)
    expected = loss(net, IMAGES, TARGET)
    torch.testing.assert_close(loss(Remembering(net), IMAGES, TARGET), expected)


def test_logits_are_remembered_from_what_came_with_more():
    class Counting(nn.Module):
        passes = 0

        def forward(self, images):
            return self.forward_with_features(images)[0]

        def forward_with_features(self, images):
            self.passes += 1
            return images + 1, images

    net = Counting()
    remembering = Remembering(net)
    logits, _ = remembering.forward_with_features(IMAGES)
    assert remembering(IMAGES) is logits
    assert net.passes == 1
    assert torch.equal(remembering(IMAGES.clone()), logits)
    assert net.passes == 2
