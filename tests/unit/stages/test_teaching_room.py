"""The bound of a cache of teachers' answers holds for every decoder, and is told in time."""

from types import SimpleNamespace

import pytest
import torch

from automl.compression.recorded import coarse_answers
from automl.errors import UsageError
from automl.models.build import build_model
from automl.models.decoders import DECODERS
from automl.records import ModelSpec
from automl.space.experiment import Experiment
from automl.stages.teaching_room import check_teaching_room, largest_cache_gb

SIZE = (64, 96)
INFO = SimpleNamespace(classes=("ground", "crack", "pit"), size=SIZE, counts={"train": 500})


def experiment(decoders=("fpn_lite",), widths=(16, 40), **compress):
    return Experiment.from_json(
        {
            "space": {
                "decoder": {"choice": list(decoders)},
                "decoder_width": {"int": list(widths), "step": 8},
            },
            "compress": {"teacher_cache": {"views": 3}, **compress},
        }
    )


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("channel_weight", [0.0, 1.0])
def test_the_bound_is_no_less_than_what_a_teacher_says(decoder, channel_weight):
    spec = ModelSpec(encoder="mobilenetv3_small_050", decoder=decoder, decoder_width=40)
    teacher = build_model(spec, num_classes=3, size=SIZE, seed=0).eval()
    with torch.no_grad():
        logits, features = coarse_answers(teacher, torch.zeros(1, 3, *SIZE))
    numbers = logits.numel() + (features.numel() if channel_weight else 0)
    bound = largest_cache_gb(experiment([decoder], channel_weight=channel_weight), INFO)
    assert 2 * 3 * 500 * numbers / 1e9 <= bound
    assert channel_weight or bound == pytest.approx(2 * 3 * 500 * numbers / 1e9)


def test_the_decoder_that_needs_most_and_enlarged_logits_decide():
    small, large = (largest_cache_gb(experiment([name]), INFO) for name in ("fpn_lite", "unet"))
    assert small < large
    assert largest_cache_gb(experiment(["fpn_lite", "unet"]), INFO) == large
    assert largest_cache_gb(experiment(teachers="winners"), INFO) > small


def test_too_large_a_cache_is_refused_with_what_it_may_take():
    declared = experiment(teacher_cache={"views": 3, "max_gb": 0.04}, channel_weight=1.0)
    with pytest.raises(UsageError) as told:
        check_teaching_room(declared, INFO)
    for part in ("3 views of 500 training images", "0.05 GB", "max_gb: 0.04", "fewer views"):
        assert part in str(told.value)
    enough = {"views": 3, "max_gb": 0.06}
    check_teaching_room(experiment(teacher_cache=enough, channel_weight=1.0), INFO)


def test_without_a_cache_or_a_student_nothing_is_refused():
    tight = {"views": 3, "max_gb": 1e-9}
    check_teaching_room(experiment(teacher_cache=tight, students=[]), INFO)
    check_teaching_room(experiment(teacher_cache=None), INFO)
