import math

import pytest

from automl.records import from_json, to_json
from automl.training.settings import FitSettings


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"accumulate": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"learning_rate": math.inf},
        {"weight_decay": -0.1},
        {"warmup_epochs": -1.0},
        {"clip_norm": 0.0},
        {"loader_workers": -1},
    ],
)
def test_values_outside_their_limits_are_refused(settings_for, change):
    (name,) = change
    with pytest.raises(ValueError, match=f"^{name} must be .*, got "):
        settings_for(**change)


def test_settings_survive_json(settings_for):
    settings = settings_for(clip_norm=None)
    assert from_json(FitSettings, to_json(settings)) == settings
