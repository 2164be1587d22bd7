import logging
import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from automl.training import checkpoint as module
from automl.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    pack_optimizer,
    save_checkpoint,
    unpack_optimizer,
)
from automl.training.optimizers import build_optimizer

CPU = torch.device("cpu")


def checkpoint(epoch):
    return Checkpoint(
        epoch=epoch,
        model_state={
            "weight": torch.full((2, 3, 3, 3), float(epoch)),
            "count": torch.tensor(epoch),
        },
        optimizer_state={"0/exp_avg": torch.full((2,), float(epoch))},
        step_loss_state={"adapter.weight": torch.full((1,), float(epoch))},
        scaler_state={"scale": 65536.0},
        extra={"losses": [0.5] * epoch},
    )


def assert_whole(found, epoch):
    expected = checkpoint(epoch)
    assert found is not None
    assert found.epoch == epoch
    for name in ("model_state", "optimizer_state", "step_loss_state"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=0)
    assert found.scaler_state == expected.scaler_state
    assert found.extra == expected.extra


def test_loads_what_was_saved(tmp_path):
    save_checkpoint(tmp_path, checkpoint(3))
    assert_whole(load_checkpoint(tmp_path, CPU), 3)


def test_empty_and_missing_folders_hold_none(tmp_path):
    assert load_checkpoint(tmp_path, CPU) is None
    assert load_checkpoint(tmp_path / "missing", CPU) is None


def test_the_newest_of_many_counts_and_two_are_kept(tmp_path):
    for epoch in (1, 2, 9, 10, 11):
        save_checkpoint(tmp_path, checkpoint(epoch))
    assert_whole(load_checkpoint(tmp_path, CPU), 11)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-00010", "epoch-00011"]


class Killed(BaseException):
    """A kill: nothing of the process's own cleaning up runs after it."""


class KillAt:
    """Raises in place of the n-th effect on the disk and of all that follow."""

    def __init__(self, monkeypatch, number):
        self.left = number
        for owner, name in (
            (os, "fsync"),
            (Path, "rename"),
            (Path, "replace"),
            (Path, "mkdir"),
            (Path, "write_text"),
            (shutil, "rmtree"),
            (module, "save_file"),
        ):
            monkeypatch.setattr(owner, name, self._guarded(getattr(owner, name)))

    def _guarded(self, effect):
        def run(*args, **kwargs):
            if self.left == 0:
                raise Killed
            self.left -= 1
            return effect(*args, **kwargs)

        return run


def test_kill_between_any_two_effects_leaves_a_whole_checkpoint(tmp_path):
    outcomes = []
    for number in range(100):
        folder = tmp_path / str(number)
        save_checkpoint(folder, checkpoint(1))
        save_checkpoint(folder, checkpoint(2))
        with pytest.MonkeyPatch.context() as patch:
            KillAt(patch, number)
            try:
                save_checkpoint(folder, checkpoint(3))
                finished = True
            except Killed:
                finished = False
        found = load_checkpoint(folder, CPU)
        assert_whole(found, found.epoch)
        outcomes.append(found.epoch)
        if finished:
            break
    assert finished
    assert outcomes == sorted(outcomes)
    assert {2, 3} == set(outcomes)
    assert len(outcomes) > 8
    save_checkpoint(folder, checkpoint(4))
    assert len(list(folder.iterdir())) == 2


def test_leftovers_of_a_killed_writer_are_removed(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        KillAt(patch, 4)
        with pytest.raises(Killed):
            save_checkpoint(tmp_path, checkpoint(1))
    assert len(list(tmp_path.iterdir())) == 1
    save_checkpoint(tmp_path, checkpoint(1))
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-00001"]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "missing"])
def test_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, name, damage, caplog):
    save_checkpoint(tmp_path, checkpoint(1))
    victim = save_checkpoint(tmp_path, checkpoint(2)) / name
    content = bytearray(victim.read_bytes())
    if damage == "missing":
        victim.unlink()
    elif damage == "cut":
        victim.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) * 3 // 4] ^= 1
        victim.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert_whole(load_checkpoint(tmp_path, CPU), 1)
    assert "epoch-00002 is damaged" in caplog.text


def test_only_checkpoint_damaged_gives_none(tmp_path):
    (save_checkpoint(tmp_path, checkpoint(1)) / "state.json").write_text("[]")
    assert load_checkpoint(tmp_path, CPU) is None


def test_a_damaged_checkpoint_is_replaced_by_a_new_one_of_its_epoch(tmp_path):
    save_checkpoint(tmp_path, checkpoint(1))
    (save_checkpoint(tmp_path, checkpoint(2)) / "model.safetensors").write_bytes(b"")
    save_checkpoint(tmp_path, checkpoint(2))
    assert_whole(load_checkpoint(tmp_path, CPU), 2)


def test_tied_and_strided_weights_can_be_saved(tmp_path):
    weight = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    tied = Checkpoint(epoch=1, model_state={"a": weight, "b": weight}, optimizer_state={})
    save_checkpoint(tmp_path, tied)
    found = load_checkpoint(tmp_path, CPU)
    assert torch.equal(found.model_state["a"], weight)
    assert torch.equal(found.model_state["b"], weight)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_optimizer_goes_on_as_if_undisturbed(name):
    def steps(net, optimizer, count, seed):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(count):
            images = torch.randn(2, 3, 6, 6, generator=generator)
            net(images.to(memory_format=torch.channels_last)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

    def fresh():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3))
        net = net.to(memory_format=torch.channels_last)
        return net, build_optimizer(net, name, 0.05, 0.01)

    net, optimizer = fresh()
    steps(net, optimizer, 3, seed=1)
    copied, resumed = fresh()
    copied.load_state_dict(net.state_dict())
    packed = {key: value.clone().contiguous() for key, value in pack_optimizer(optimizer).items()}
    unpack_optimizer(resumed, packed)
    for state in resumed.state.values():
        for value in state.values():
            assert value.ndim != 4 or value.is_contiguous(memory_format=torch.channels_last)
    steps(net, optimizer, 3, seed=2)
    steps(copied, resumed, 3, seed=2)
    for one, other in zip(net.parameters(), copied.parameters(), strict=True):
        assert torch.equal(one, other)


def test_optimizer_state_of_more_parameters_is_refused():
    optimizer = build_optimizer(nn.Linear(2, 2), "adamw", 0.1, 0.0)
    with pytest.raises(ValueError, match="has 2 parameters"):
        unpack_optimizer(optimizer, {"5/step": torch.tensor(1.0)})
