"""What a study's trainings take of a GPU's memory; the GPU is a list of numbers."""

import pytest
import torch

from automl.jobs import peak_memory as module
from automl.jobs.peak_memory import networks_to_measure, peak_memory
from automl.space.experiment import Experiment
from automl.training.steps import Stepper

SPACE = {
    "encoder": "mobilenetv3_small_050",
    "decoder_width": {"int": [16, 64], "step": 8, "default": 24},
    "batch_size": 4,
}


class Meter:
    """Each measurement takes the next of these peaks; one that is an error is met in its steps."""

    def __init__(self, *peaks):
        self.peaks, self.taken = peaks, 0

    def total_bytes(self):
        return 1000

    def begin(self):
        peak = self.peaks[self.taken % len(self.peaks)]
        self.taken += 1
        if isinstance(peak, BaseException):
            raise peak

    def peak_bytes(self):
        return self.peaks[(self.taken - 1) % len(self.peaks)]


def test_the_default_the_points_and_the_same_few_others_are_measured():
    plain = {"space": SPACE, "search": {"points": [{"decoder_width": 48}], "seed": 3}}
    found = [params["decoder_width"] for params in networks_to_measure(Experiment.from_json(plain))]
    again = [params["decoder_width"] for params in networks_to_measure(Experiment.from_json(plain))]
    assert found == again
    assert found[:2] == [24, 48]
    assert len(found) == 8
    assert len(set(found)) > 3


def test_the_largest_peak_counts_and_nothing_of_the_process_changes(context):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    meter = Meter(300, 500, 400)
    assert peak_memory(context(space=SPACE), meter) == 500
    assert meter.taken == 7
    assert torch.equal(torch.get_rng_state(), before)


def test_one_that_does_not_fit_takes_the_whole_gpu(context):
    meter = Meter(300, torch.OutOfMemoryError("CUDA out of memory"))
    assert peak_memory(context(space=SPACE), meter) == 1000


def test_a_network_with_a_fault_of_its_own_is_passed_over(context):
    meter = Meter(ValueError("no such thing"), 300)
    assert peak_memory(context(space=SPACE), meter) == 300
    assert peak_memory(context(space=SPACE), Meter(ValueError("none can be built"))) == 1000


def test_what_is_measured_are_steps_of_the_training_itself(context, monkeypatch):
    """The optimizer has its state from the first step on, so there is a second one."""
    stepped = []
    prepared = module.prepared

    def spied(model, dataset, settings, *, step_loss):
        stepped.append(settings)
        return prepared(model, dataset, settings, step_loss=step_loss)

    monkeypatch.setattr(module, "prepared", spied)
    peak_memory(context(space=SPACE, train={"epochs": 2, "device": "cpu"}), Meter(1))
    assert {settings.batch_size for settings in stepped} == {4}
    assert {settings.precision for settings in stepped} == {"auto"}


@pytest.mark.parametrize(("accumulate", "groups"), [(1, [1, 1]), (2, [2, 2]), (8, [2, 2])])
def test_two_steps_of_two_batches_at_most_are_measured(accumulate, groups, context, monkeypatch):
    """The second batch of a step is met by the gradients of the first; a third adds nothing."""
    measured = []

    def counted(self, group):
        measured.append(len(group))
        return torch.zeros(()), torch.zeros(())

    monkeypatch.setattr(Stepper, "_optimize", counted)
    space = {**SPACE, "decoder_width": 16, "batch_size": 2, "accumulate": accumulate}
    of = context(space=space, train={"epochs": 2, "device": "cpu", "accumulate": 4})
    assert peak_memory(of, Meter(7)) == 7
    assert measured[:2] == groups
    assert len(measured) == 14
