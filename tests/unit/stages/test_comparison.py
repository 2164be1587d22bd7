import pytest

from automl.stages.comparison import EpochComparison, Reproduction


def epoch(number, recorded, reproduced, **other):
    before = None if recorded is None else {"miou": recorded, "val_loss": 1.0}
    now = {"miou": reproduced, "val_loss": 1.0, **other}
    return EpochComparison(epoch=number, recorded=before, reproduced=now)


def reproduction(*epochs, tolerance=0.0):
    return Reproduction(metric="miou", tolerance=tolerance, epochs=epochs)


def test_equal_numbers_are_identical():
    done = reproduction(epoch(1, 0.5, 0.5), epoch(2, 0.6, 0.6))
    assert done.verdict == "identical"
    assert done.verdict_text() == "identical: all 2 metrics of 2 epochs, bit by bit"


def test_the_last_bit_counts():
    done = reproduction(epoch(1, 0.5, 0.5), epoch(2, 0.3, 0.1 + 0.2))
    assert done.verdict == "differs"
    assert "miou by at most 5.55e-17, at epoch 2; the first difference is at epoch 2" in (
        done.verdict_text()
    )


@pytest.mark.parametrize(
    ("tolerance", "verdict"), [(0.0, "differs"), (0.04, "differs"), (0.06, "within")]
)
def test_the_largest_difference_must_keep_the_tolerance(tolerance, verdict):
    epochs = [epoch(1, 0.5, 0.49), epoch(2, 0.6, 0.55), epoch(3, 0.6, 0.61)]
    done = reproduction(*epochs, tolerance=tolerance)
    assert done.verdict == verdict
    assert "by at most 0.05, at epoch 2; the first difference is at epoch 1" in done.verdict_text()


def test_another_metric_that_differs_is_told():
    done = reproduction(epoch(1, 0.5, 0.5, val_loss=1.1))
    assert done.verdict == "differs"
    assert "miou is equal, but not val_loss" in done.verdict_text()
    assert reproduction(epoch(1, 0.5, 0.5, val_loss=1.1), tolerance=0.01).verdict == "within"


def test_metrics_that_the_record_does_not_know_are_no_difference():
    assert reproduction(epoch(1, 0.5, 0.5, new=3.0)).verdict == "identical"


def test_a_recorded_metric_that_is_missing_is_a_difference():
    lost = EpochComparison(epoch=1, recorded={"miou": 0.5}, reproduced={"dice": 0.5})
    assert lost.difference("miou") is None
    assert reproduction(lost, tolerance=9.0).verdict == "differs"


def test_epochs_without_a_record_do_not_count_and_some_epoch_must():
    done = reproduction(epoch(1, None, 0.1), epoch(2, 0.5, 0.5))
    assert done.verdict_text().endswith("of 1 epoch, bit by bit")
    with pytest.raises(ValueError, match="at least one recorded epoch"):
        reproduction(epoch(1, None, 0.1))
