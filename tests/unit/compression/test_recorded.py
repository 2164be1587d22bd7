"""A teacher's answers on disk: what was said comes back, for the samples that were asked for."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from automl.compression.distill import DistillationLoss, DistillationSettings
from automl.compression.ensemble import Renormalised, teaching_together
from automl.compression.matching import FeatureMatching, stage_shapes
from automl.compression.recorded import RecordedTeacher, record_answers
from automl.models.build import build_model
from automl.records import ModelSpec, Normalisation

SIZE = (32, 64)
IMAGES = torch.randn(7, 3, *SIZE, generator=torch.Generator().manual_seed(0))
TARGET = torch.randint(0, 3, (7, *SIZE), generator=torch.Generator().manual_seed(1))
CPU = torch.device("cpu")
#: Half of float16's last bit.
ROUNDED = 2.0**-11


def network(width=16, seed=0, decoder="fpn_lite"):
    spec = ModelSpec(encoder="mobilenetv3_small_050", decoder=decoder, decoder_width=width)
    return build_model(spec, num_classes=3, size=SIZE, seed=seed).eval()


@pytest.fixture(scope="module")
def teacher():
    return network(24)


@pytest.fixture(scope="module")
def folder(teacher, tmp_path_factory):
    made = tmp_path_factory.mktemp("answers")
    # Unequal parts, as at the end of each view.
    record_answers(made, teacher, IMAGES.split([3, 1, 3]), features=True, device=CPU)
    return made


@pytest.fixture(scope="module")
def recorded(folder):
    return RecordedTeacher(folder)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, len(IMAGES) - 1), min_size=1, max_size=9))
def test_any_samples_get_what_the_teacher_says_of_them(teacher, recorded, samples):
    with torch.no_grad():
        logits, features = teacher.forward_with_features(IMAGES)
    found = recorded.answers(torch.tensor(samples), IMAGES[samples])
    for said, kept in zip((logits, features), found, strict=True):
        assert kept.dtype == torch.float32
        assert torch.allclose(kept, said[samples], rtol=2 * ROUNDED, atol=1e-3)


def test_answers_are_kept_in_half_precision_at_their_own_stride(folder):
    cells = SIZE[0] // 4 * (SIZE[1] // 4)
    numbers = len(IMAGES) * (3 + 24) * cells
    size = (folder / "answers.arrow").stat().st_size
    assert 2 * numbers <= size <= 2 * numbers + 8192


def test_coarse_logits_are_the_network_s_before_it_enlarges_them(teacher):
    with torch.no_grad():
        coarse, features = teacher.forward_coarse(IMAGES)
        logits, same = teacher.forward_with_features(IMAGES)
    assert coarse.shape[-2:] == (SIZE[0] // 4, SIZE[1] // 4)
    enlarged = F.interpolate(coarse, size=SIZE, mode="bilinear", align_corners=False)
    assert torch.equal(enlarged, logits)
    assert torch.equal(features, same)


def test_without_features_none_are_kept(teacher, tmp_path):
    record_answers(tmp_path, teacher, [IMAGES], features=False, device=CPU)
    logits, features = RecordedTeacher(tmp_path).answers(torch.tensor([1]), IMAGES[:1])
    assert logits.shape == (1, 3, *SIZE)
    assert features is None


def test_a_sample_that_is_not_there_is_refused(recorded):
    with pytest.raises(IndexError, match=r"sample must be in 0\.\.6, got 7"):
        recorded.answers(torch.tensor([7]), IMAGES[:1])


def test_nothing_can_be_recorded_of_no_image(teacher, tmp_path):
    with pytest.raises(ValueError, match="no image"):
        record_answers(tmp_path, teacher, [], features=True, device=CPU)


def test_what_float16_cannot_hold_becomes_the_largest_that_it_can(tmp_path):
    class Loud(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward_with_features(self, images):
            return images * 1e6, images

    images = torch.tensor([1.0, -1.0, 1e-3]).view(1, 3, 1, 1)
    record_answers(tmp_path, Loud(), [images], features=False, device=CPU)
    logits, _ = RecordedTeacher(tmp_path).answers(torch.tensor([0]), images)
    assert logits.flatten().tolist() == [65504, -65504, 1000]


def test_the_teacher_is_given_back_as_it_was(teacher, tmp_path):
    training = copy.deepcopy(teacher).train()
    before = copy.deepcopy(training.state_dict())
    record_answers(tmp_path, training, [IMAGES], features=True, device=CPU)
    assert training.training
    assert all(torch.equal(value, before[name]) for name, value in training.state_dict().items())


def test_it_travels_as_its_path(recorded):
    for twin in (pickle.loads(pickle.dumps(recorded)), copy.deepcopy(recorded)):
        logits, _ = twin.answers(torch.tensor([2]), IMAGES[:1])
        assert torch.equal(logits, recorded.answers(torch.tensor([2]), IMAGES[:1])[0])


@pytest.mark.parametrize("together", [False, True])
def test_teachers_of_other_units_and_several_are_recorded_as_they_teach(
    teacher, tmp_path, together
):
    own, given = (Normalisation(mean=(m,) * 3, std=(2.0 + m,) * 3) for m in (0.5, 0.0))
    members = [(teacher, own), *([(network(16, 1, "unet"), given)] if together else [])]
    taught = teaching_together(members, given, 2.0)
    assert together or isinstance(taught, Renormalised)
    record_answers(tmp_path, taught, [IMAGES], features=True, device=CPU)
    with torch.no_grad():
        said, _ = taught.eval().forward_with_features(IMAGES[3:5])
    kept, _ = RecordedTeacher(tmp_path).answers(torch.tensor([3, 4]), IMAGES[3:5])
    assert torch.allclose(kept, said, rtol=4 * ROUNDED, atol=2e-3)


def loss_of(teacher, **weights):
    return DistillationLoss(
        teacher,
        task_loss=F.cross_entropy,
        channels=(16, 24),
        settings=DistillationSettings(**weights),
        seed=0,
    )


def test_a_student_learns_the_same_from_what_was_recorded(teacher, recorded):
    live, recalling = loss_of(teacher), loss_of(network(24, seed=9))
    recalling.recall(recorded)
    samples = torch.tensor([5, 0])
    student = network(16, seed=2).train()
    grads = []
    for loss in (live, recalling.of_samples(samples)):
        student.zero_grad()
        value = loss(student, IMAGES[samples], TARGET[samples])
        value.backward()
        grads.append((value.item(), student.head.weight.grad.clone()))
    assert grads[0][0] == pytest.approx(grads[1][0], rel=1e-3)
    assert torch.allclose(grads[0][1], grads[1][1], rtol=1e-2, atol=1e-4)


def test_without_numbers_the_teacher_itself_is_asked(teacher, recorded):
    live, recalling = loss_of(teacher), loss_of(teacher)
    recalling.recall(recorded)
    student = network(16, seed=2)
    assert torch.equal(live(student, IMAGES, TARGET), recalling(student, IMAGES, TARGET))


def test_stages_are_not_recorded(teacher, recorded):
    matching = FeatureMatching(stage_shapes(network(16), SIZE), stage_shapes(teacher, SIZE), seed=0)
    loss = DistillationLoss(
        teacher,
        task_loss=F.cross_entropy,
        channels=(16, 24),
        settings=DistillationSettings(feature_weight=1.0),
        seed=0,
        matching=matching,
    )
    with pytest.raises(ValueError, match="stages are matched"):
        loss.recall(recorded)
