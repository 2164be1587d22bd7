import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl.training.recipe import EarlyStop, Recipe

scores = st.lists(st.integers(0, 20).map(lambda n: n / 20), min_size=1, max_size=30)


@given(scores=scores, patience=st.integers(1, 5))
def test_a_run_ends_at_the_first_epoch_that_has_been_patient_enough(scores, patience):
    rule = EarlyStop(patience=patience)
    ends = [rule.says_stop(scores[:count]) for count in range(1, len(scores) + 1)]
    for epoch, ended in enumerate(ends, start=1):
        before, last = scores[: max(0, epoch - patience)], scores[max(0, epoch - patience) : epoch]
        assert ended == (bool(before) and max(last) <= max(before))


def test_too_small_a_gain_is_none():
    rule = EarlyStop(patience=2, min_delta=0.05)
    assert rule.best_epoch([0.3, 0.34, 0.36]) == 3
    assert not rule.says_stop([0.3, 0.34, 0.36])
    assert rule.says_stop([0.3, 0.34, 0.33])


def test_an_early_end_is_told_with_its_best_epoch():
    rule = EarlyStop(patience=2)
    told = "stopped early at epoch 7 of 12, best 5"
    assert rule.end([0.1, 0.2, 0.3, 0.4, 0.5, 0.45, 0.5], 12) == told
    assert rule.end([0.1, 0.2, 0.3, 0.4, 0.5, 0.45, 0.5], 7) is None
    assert rule.end([0.1, 0.2], 12) is None
    assert rule.end([], 12) is None


@pytest.mark.parametrize("changes", [{"patience": 0}, {"patience": 1, "min_delta": -0.1}])
def test_impossible_rules_are_refused(changes):
    with pytest.raises(ValueError, match="patience must be at least 1 and min_delta at least 0"):
        EarlyStop(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder_lr_factor": 0.0},
        {"encoder_lr_factor": 1.5},
        {"layer_decay": 0.0},
        {"freeze_epochs": -1},
        {"ema_decay": 1.0},
        {"ema_distillation": -0.1},
        {"ema_distillation": 0.5},
    ],
)
def test_values_outside_their_limits_are_refused(changes):
    (name,) = changes
    with pytest.raises(ValueError, match=name):
        Recipe(**changes)
