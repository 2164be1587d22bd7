"""Out of memory within a trial: smaller pieces, then no trial."""

import json
import logging
import weakref

import pytest
import torch

from automl.errors import StudyError, TrialError
from automl.jobs import beginning, trial
from automl.jobs.memory import (
    MemoryNote,
    TooLargeError,
    micro_batches,
    noting_memory,
    read_note,
    within_memory,
)
from automl.jobs.trial import run_trial
from automl.models.build import SegmentationNet
from automl.records import TrialStatus
from automl.training.checkpoint import load_checkpoint

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB."
TRAIN = {"epochs": 3, "device": "cpu"}


@pytest.fixture(autouse=True)
def measured(monkeypatch):
    """Costs without a measurement."""
    monkeypatch.setattr(trial, "measure_costs", lambda _config, _context: ())


class Memory:
    """Memory for so many images at a time; keeps how many were asked for while training."""

    def __init__(self, patch, images, *, from_call=0):
        self.asked = []
        self.images = images
        honest = SegmentationNet.forward_with_features

        def forward(model, images_nchw):
            if model.training:
                self.asked.append(len(images_nchw))
            if len(images_nchw) > self.images and len(self.asked) > from_call:
                raise torch.OutOfMemoryError(FULL)
            return honest(model, images_nchw)

        patch.setattr(SegmentationNet, "forward_with_features", forward)


@pytest.fixture
def memory(monkeypatch):
    return lambda images, **options: Memory(monkeypatch, images, **options)


def metrics(heard):
    return [message.metrics for message in heard.messages if message.kind == "epoch"]


def test_a_trial_out_of_memory_goes_on_in_pieces(context, config, recorder, memory, caplog):
    limit = memory(2)
    heard, of = recorder(), context(train=TRAIN)
    with caplog.at_level(logging.WARNING):
        run_trial(config(batch_size=8), of, heard)
    assert heard.kinds == ["costs", "epoch", "epoch", "epoch", "end"]
    assert heard.messages[-1].status is TrialStatus.COMPLETED
    told = "out of memory, went on with 4 micro batches a batch, of at most 2 images"
    assert [message.reason for message in heard.messages] == [None, told, told, told, told]
    # Of the one batch an epoch, 8 and 4 images at a time did not fit.
    assert limit.asked == [8, 4] + [2] * 12
    assert [record for record in caplog.records if "with 2 micro batches" in record.message]
    note = read_note(of.folder.trial(config(batch_size=8).trial_id))
    assert note == MemoryNote(
        micro_batches=4,
        images=2,
        faults=2,
        too_large=False,
        error=f"OutOfMemoryError: {FULL}",
    )


def test_it_goes_on_from_its_last_checkpoint(context, config, recorder, memory):
    """The memory shrinks in the second epoch: the first is neither lost nor run again."""
    limit = memory(2, from_call=2)
    heard, of = recorder(), context(train=TRAIN)
    run_trial(config(), of, heard)
    assert heard.messages[-1].status is TrialStatus.COMPLETED
    assert limit.asked == [4, 4] + [4] + [2] * 8
    # The epoch that it goes on from is told once more, as after any restart.
    epochs = [message.epoch for message in heard.messages if message.kind == "epoch"]
    assert epochs == [1, 1, 2, 3]
    assert metrics(heard)[0] == metrics(heard)[1]


def test_a_later_leg_of_the_trial_does_not_meet_the_wall_again(context, config, recorder, memory):
    class Killed(recorder):
        def report(self, config, message):
            super().report(config, message)
            if message.kind == "epoch":
                raise KeyboardInterrupt

    limit = memory(2)
    of = context(train=TRAIN)
    with pytest.raises(KeyboardInterrupt):
        run_trial(config(), of, Killed())
    assert limit.asked == [4] + [2] * 4
    limit.asked.clear()
    heard = recorder()
    run_trial(config(), of, heard)
    assert heard.messages[-1].status is TrialStatus.COMPLETED
    assert limit.asked == [2] * 8


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_trial_of_which_no_image_fits_is_infeasible(context, config, recorder, memory, attempts):
    memory(0)
    of = context()
    for _ in range(attempts):
        # The end of the first may have been lost in a kill.
        heard = recorder()
        run_trial(config(), of, heard)
        assert heard.kinds == ["costs", "end"]
        end = heard.messages[-1]
        assert end.status is TrialStatus.INFEASIBLE
        assert end.reason == (
            f"out of memory even with a microbatch of 1 image: OutOfMemoryError: {FULL}"
        )
    assert not (of.folder.trial(config().trial_id) / "error.txt").exists()


def test_validation_out_of_memory_is_the_same_fault(context, config, recorder, monkeypatch):
    honest = SegmentationNet.forward_with_features

    def forward(model, images_nchw):
        if not model.training and len(images_nchw) > 2:
            raise MemoryError
        return honest(model, images_nchw)

    monkeypatch.setattr(SegmentationNet, "forward_with_features", forward)
    heard = recorder()
    run_trial(config(), context(), heard)
    assert heard.messages[-1].status is TrialStatus.COMPLETED


def test_a_real_refusal_of_the_host_s_memory_counts(context, config, recorder, monkeypatch):
    honest = SegmentationNet.forward_with_features

    def forward(model, images_nchw):
        if len(images_nchw) > 2:
            torch.empty(2**55, dtype=torch.uint8)
        return honest(model, images_nchw)

    monkeypatch.setattr(SegmentationNet, "forward_with_features", forward)
    heard, of = recorder(), context()
    run_trial(config(), of, heard)
    assert heard.messages[-1].status is TrialStatus.COMPLETED
    assert "can't allocate memory" in read_note(of.folder.trial(config().trial_id)).error


def test_the_failed_attempt_s_network_is_gone_before_the_next(
    context, config, recorder, memory, monkeypatch
):
    memory(2)
    built, alive = [], []
    honest = beginning.build_network

    def count(params, info, *, seed):
        alive.append(sum(network() is not None for network in built))
        network = honest(params, info, seed=seed)
        built.append(weakref.ref(network))
        return network

    monkeypatch.setattr(beginning, "build_network", count)
    run_trial(config(batch_size=8), context(), recorder())
    assert alive == [0, 0, 0]


def test_other_faults_are_not_tried_again(tmp_path):
    calls = []

    def attempt():
        calls.append(1)
        with noting_memory(tmp_path, 8):
            raise TrialError("the loss is nan")

    with pytest.raises(TrialError, match="nan"):
        within_memory(tmp_path, attempt)
    assert len(calls) == 1
    assert read_note(tmp_path) is None
    assert micro_batches(tmp_path) == 1


def test_an_old_note_does_not_excuse_another_fault(tmp_path):
    with pytest.raises(MemoryError), noting_memory(tmp_path, 8):
        raise MemoryError
    calls = []

    def attempt():
        calls.append(1)
        raise TrialError("the worker group failed")

    with pytest.raises(TrialError, match="worker group"):
        within_memory(tmp_path, attempt)
    assert len(calls) == 1


def test_a_fault_of_the_study_is_not_tried_again(tmp_path):
    def attempt():
        with pytest.raises(MemoryError), noting_memory(tmp_path, 8):
            raise MemoryError
        raise StudyError("the disk is full")

    with pytest.raises(StudyError):
        within_memory(tmp_path, attempt)


def test_pieces_double_until_one_image_is_left(tmp_path):
    tried = []

    def exhaust():
        raise MemoryError("no room")

    def attempt():
        # A group's fault is its own; only the note tells what it was.
        try:
            with noting_memory(tmp_path, 6):
                tried.append(micro_batches(tmp_path))
                exhaust()
        except MemoryError:
            raise TrialError("the worker group failed: a rank is gone") from None

    with pytest.raises(TooLargeError, match=r"microbatch of 1 image: MemoryError: no room"):
        within_memory(tmp_path, attempt)
    assert tried == [1, 2, 4, 6]
    assert json.loads((tmp_path / "memory.json").read_text())["too_large"] is True


def test_a_note_has_counts():
    with pytest.raises(ValueError, match="at least 1"):
        MemoryNote(micro_batches=0, images=1, faults=1, too_large=False, error="x")


def test_the_checkpoint_of_whole_batches_is_that_of_pieces(context, config, recorder, memory):
    memory(2)
    of = context(train={**TRAIN, "epochs": 1})
    run_trial(config(), of, recorder())
    folder = of.folder.trial(config().trial_id) / "checkpoint"
    found = load_checkpoint(folder, torch.device("cpu"))
    assert found.epoch == 1
    assert "micro_batches" not in found.extra["run"]
