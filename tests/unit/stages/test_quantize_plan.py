"""Where `automl quantize` looks for its data."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from automl.errors import UsageError
from automl.resize import STRETCH
from automl.space.compression import Int8Settings
from automl.stages import quantize_plan
from automl.stages.quantize_plan import QuantizeRequest, plan_quantization


class LookedForError(Exception):
    """Carries the source that was asked for."""


def request_for(data):
    return QuantizeRequest(
        model=Path("study/1"),
        data=data,
        out=Path("int8"),
        runtime="onnxruntime",
        settings=Int8Settings(),
        rungs=None,
        calibration_images=1,
        threads=1,
        rounds=1,
    )


@pytest.fixture
def subject(monkeypatch):
    def look(source, *_, **__):
        raise LookedForError(source)

    experiment = SimpleNamespace(data=SimpleNamespace(source="the study's"))
    subject = SimpleNamespace(
        size=(32, 32),
        resize=STRETCH,
        classes=("low", "high"),
        split_seed=0,
        trainable=SimpleNamespace(experiment=experiment),
    )
    monkeypatch.setattr(quantize_plan, "find_subject", lambda _model: subject)
    monkeypatch.setattr(quantize_plan, "cached_for_network", look)
    return subject


@pytest.mark.parametrize(("given", "looked_for"), [(None, "the study's"), ("mine", "mine")])
def test_a_trial_brings_its_data_and_the_option_goes_first(subject, given, looked_for):
    with pytest.raises(LookedForError, match=looked_for):
        plan_quantization(request_for(given))


def test_a_bundle_needs_to_be_told(subject):
    subject.trainable = None
    with pytest.raises(UsageError, match="--data: not given; study/1 is a bundle"):
        plan_quantization(request_for(None))
