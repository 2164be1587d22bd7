"""What a run measures of itself before it starts."""

import copy

import pytest
import torch

from automl.data.batching import EpochPlan
from automl.errors import TrialError
from automl.measurement.race import RaceResult
from automl.records import SpeedChoice
from automl.training import tuning
from automl.training.manner import Manner
from automl.training.precision import Precision
from automl.training.tuning import Wanted, loader_workers, settings_of, tune, ways

CPU = torch.device("cpu")


@pytest.fixture
def tuned(dataset, settings_for, supervised, tiny_net):
    def run(model=None, *, wanted, **changes):
        model = tiny_net(norm=True) if model is None else model
        return tune(model, supervised, dataset, settings_for(**changes), Wanted(**wanted))

    return run


def winning(monkeypatch, name, seconds=0.5):
    """Have a way win, whatever the machine says, after each has worked once."""

    def race(runs, **_options):
        for run in runs.values():
            assert run() >= 0
        return RaceResult(winner=name, seconds=dict.fromkeys(runs, seconds))

    monkeypatch.setattr(tuning, "race", race)


@pytest.mark.parametrize("winner", ways(CPU))
def test_the_winner_of_the_race_is_chosen(winner, tuned, monkeypatch):
    winning(monkeypatch, winner)
    choice = tuned(wanted={"fastest_precision": True}, precision="fastest")
    precision, layout = winner.split("+")
    assert (choice.precision, choice.layout) == (precision, layout)
    assert choice.step_ms == dict.fromkeys(ways(CPU), 500.0)
    assert choice.prepare_ms is None


def test_each_way_is_timed_in_its_own_precision_and_layout(tuned, monkeypatch, tiny_net):
    seen = []

    class Watched(type(tiny_net())):
        def forward(self, images_nchw):
            layout = images_nchw.is_contiguous(memory_format=torch.channels_last)
            lowered = torch.is_autocast_enabled("cpu")
            weights = self.body.weight.is_contiguous(memory_format=torch.channels_last)
            seen.append((lowered, layout, weights))
            return super().forward(images_nchw)

    winning(monkeypatch, "fp32+channels_last")
    tuned(Watched(), wanted={"fastest_precision": True}, precision="fastest")
    assert seen == [
        (False, True, True),
        (True, True, True),
        (False, False, False),
        (True, False, False),
    ]


def test_only_what_was_asked_for_is_chosen(tuned):
    choice = tuned(wanted={"fastest_loader": True}, precision="bf16", loader_workers=3)
    assert (choice.precision, choice.layout, choice.compiled) == ("bf16", "channels_last", False)
    assert set(choice.step_ms) == {"bf16+channels_last"}
    assert choice.prepare_ms > 0


def test_network_loss_and_random_state_stay_as_they_are(tuned, supervised, tiny_net):
    model = tiny_net(norm=True, dropout=0.5)
    before = copy.deepcopy(model.state_dict())
    state = torch.random.get_rng_state()
    tuned(model, wanted={"fastest_precision": True}, precision="fastest")
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_pieces_are_timed_as_small_as_they_are_trained(tuned, monkeypatch):
    sizes = []
    honest = EpochPlan.some_batches

    def watched(plan, count):
        for batch in honest(plan, count):
            sizes.append(len(batch.images_nhwc))
            yield batch

    monkeypatch.setattr(EpochPlan, "some_batches", watched)
    for changes in ({"batch_size": 8}, {"batch_size": 8, "micro_batches": 4}, {"batch_size": 3}):
        tuned(wanted={"fastest_loader": True}, precision="fp32", **changes)
    assert sizes == [4, 2, 3]


def test_on_cuda_the_usual_precision_meets_fp32(monkeypatch):
    monkeypatch.setattr(
        tuning, "resolve_precision", lambda _name, _d: Precision(name="bf16", device_type="cuda")
    )
    assert ways(torch.device("cuda")) == ("bf16+channels_last", "fp32+channels_last")


def test_the_choice_is_what_the_settings_become(settings_for):
    choice = SpeedChoice(precision="bf16", layout="contiguous", compiled=True, loader_workers=2)
    settings = settings_of(choice, settings_for(manner=Manner(deterministic=True)))
    assert (settings.precision, settings.loader_workers) == ("bf16", 2)
    assert settings.manner == Manner(layout="contiguous", compiled=True, deterministic=True)


@pytest.mark.parametrize(
    ("prepare_s", "step_s", "spare", "threads"),
    [
        (0.001, 1.0, 8, 0),  # hardly anything to gain
        (0.1, 1.0, 8, 1),
        (1.0, 1.0, 8, 2),  # one thread would just keep up
        (2.0, 1.0, 8, 3),
        (9.0, 1.0, 8, 8),
        (9.0, 1.0, 0, 0),
    ],
)
def test_threads_make_batches_as_fast_as_steps_take_them(prepare_s, step_s, spare, threads):
    assert loader_workers(prepare_s, step_s, spare) == threads


def test_loader_threads_follow_the_measurement(tuned, monkeypatch):
    winning(monkeypatch, "fp32+channels_last", seconds=1e-9)
    for cores, threads in ((1, 0), (3, 2)):
        monkeypatch.setattr(tuning, "usable_cores", lambda count=cores: count)
        choice = tuned(wanted={"fastest_loader": True}, precision="fp32")
        assert choice.loader_workers == threads


def test_a_network_that_compiles_is_compiled(tuned, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_options: function)
    choice = tuned(wanted={"compiled": True}, precision="fp32")
    assert (choice.compiled, choice.not_compiled) == (True, None)


def test_without_a_compiler_the_choice_says_so(tuned, monkeypatch):
    def missing(_function, **_options):
        def run(*_given):
            raise RuntimeError("no C++ compiler\nhere")

        return run

    monkeypatch.setattr(torch, "compile", missing)
    choice = tuned(wanted={"compiled": True}, precision="fp32")
    assert (choice.compiled, choice.not_compiled) == (False, "RuntimeError: no C++ compiler")


@pytest.mark.parametrize("fault", [torch.OutOfMemoryError("full"), TrialError("the loss is nan")])
def test_what_is_no_fault_of_the_compiler_is_raised(fault, tuned, monkeypatch):
    def failing(_function, **_options):
        def run(*_given):
            raise fault

        return run

    monkeypatch.setattr(torch, "compile", failing)
    with pytest.raises(type(fault), match=str(fault)):
        tuned(wanted={"compiled": True}, precision="fp32")


def test_a_cpu_is_timed_on_one_thread_and_given_back(tuned, monkeypatch):
    seen = []

    def race(runs, **_options):
        seen.append(torch.get_num_threads())
        return RaceResult(winner="fp32+channels_last", seconds=dict.fromkeys(runs, 1e-9))

    monkeypatch.setattr(tuning, "race", race)
    torch.set_num_threads(3)  # the fixture of all tests here gives it back
    tuned(wanted={"fastest_precision": True}, precision="fastest")
    assert seen == [1]
    assert torch.get_num_threads() == 3


@pytest.mark.exhaustive
def test_the_real_compiler_makes_kernels(tuned):
    """Where there is a C++ compiler, as torch needs one on a CPU."""
    choice = tuned(wanted={"compiled": True}, precision="fp32")
    assert (choice.compiled, choice.not_compiled) == (True, None)
