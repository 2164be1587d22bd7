"""How much memory the trainings of a study take at most, measured by their own first steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from automl.fidelity import FULL
from automl.jobs.context import JobContext
from automl.jobs.trainee import trainee_of
from automl.records import Scalar, TrialConfig
from automl.space.experiment import Experiment
from automl.training.loop import prepared
from automl.training.memory import MemoryMeter, is_out_of_memory

#: The second step has the optimizer's state beside the gradients.
_STEPS = 2
#: The second batch of a step has the gradients of the first beside its own; no more comes later.
_BATCHES = 2
#: Networks drawn from the space, beside the default and the user's points.
_DRAWN = 6
_STREAM = (0x6D656D,)


def networks_to_measure(experiment: Experiment) -> Iterator[Mapping[str, Scalar]]:
    """The default configuration, the user's points, and some of the space, by the study's seed."""
    space = experiment.space
    yield space.default()
    yield from map(space.complete, experiment.search.points)
    rng = np.random.default_rng((experiment.search.seed, *_STREAM))
    for _ in range(_DRAWN):
        yield space.assign(lambda _name, domain: domain.at(rng.random()))


def peak_memory(context: JobContext, meter: MemoryMeter) -> int:
    """The most bytes that any of them takes; all of the device where one does not fit at all."""
    peaks: list[int] = []
    context = _measuring_nothing_else(context)
    for number, params in enumerate(networks_to_measure(context.experiment)):
        config = TrialConfig(number=number, seed=context.experiment.search.seed, params=params)
        try:
            peaks.append(_peak_of(config, context, meter))
        except Exception as error:
            if is_out_of_memory(error):
                return meter.total_bytes()
            # A fault of one network is its own trial's to tell.
    return max(peaks, default=meter.total_bytes())


def _peak_of(config: TrialConfig, context: JobContext, meter: MemoryMeter) -> int:
    meter.begin()
    trainee = trainee_of(config, context)
    batches = min(trainee.settings.accumulate, _BATCHES)
    with prepared(
        trainee.model,
        trainee.dataset,
        replace(trainee.settings, fidelity=FULL, accumulate=batches),
        step_loss=trainee.loss,
    ) as run:
        for _ in range(_STEPS):
            run.stepper.run_epoch(run.plan.some_batches(batches), 0)
    return meter.peak_bytes()


def _measuring_nothing_else(context: JobContext) -> JobContext:
    """The same study with nothing left to find out; what it might choose takes no more memory."""
    train = context.experiment.train
    precision = "fp32" if train.precision == "fastest" else train.precision
    declared = {"precision": precision, "compile": False, "loader_workers": 0}
    plain = {"train": train.model_copy(update=declared)}
    return replace(context, experiment=context.experiment.model_copy(update=plain))
