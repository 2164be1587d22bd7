"""Checkpoints of a run: safetensors and JSON, no pickle, safe against a kill at any moment.

Each is a folder of its own, `epoch-00007/`, that appears under its name only when it is whole and
on disk; the one before it stays as a fallback. In it:

- `model.safetensors`: the state of the model, names as in its `state_dict`;
- `optimizer.safetensors`: `optimizer/<parameter>/<name>`, `step_loss/<name>` for what a loss
  trains itself, and `live/<name>` for the weights that train where those of the model are their
  average;
- `state.json`: the rest, with the SHA-256 of the two files and of itself.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from automl.records import canonical_json
from automl.store.atomic import STAGED_SUFFIX, staged_folder

MODEL_FILE = "model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"

_KEPT = 2
_OPTIMIZER = "optimizer/"
_STEP_LOSS = "step_loss/"
_LIVE = "live/"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A run after `epoch` finished epochs. `extra` and `scaler_state` are plain JSON values.

    `optimizer_state` has one entry a parameter and name of a tensor, as `pack_optimizer` gives it.
    `model_state` is what is scored and shipped; `live_state` is what trains, where that differs.
    """

    epoch: int
    model_state: Mapping[str, Tensor]
    optimizer_state: Mapping[str, Tensor]
    step_loss_state: Mapping[str, Tensor] = field(default_factory=dict)
    live_state: Mapping[str, Tensor] = field(default_factory=dict)
    scaler_state: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint below `folder`; returns its own folder, which is then on disk.

    The newest two are kept. Raises StudyError where the disk has no room, OSError for its other
    refusals, and ValueError for `extra` that is not JSON; what was there before is then still
    whole.
    """
    final = folder / f"epoch-{checkpoint.epoch:05d}"
    with staged_folder(final) as staged:
        save_file(_plain(checkpoint.model_state, ""), staged / MODEL_FILE)
        trained = _plain(checkpoint.optimizer_state, _OPTIMIZER)
        trained.update(_plain(checkpoint.step_loss_state, _STEP_LOSS))
        trained.update(_plain(checkpoint.live_state, _LIVE))
        save_file(trained, staged / OPTIMIZER_FILE)
        body = {
            "epoch": checkpoint.epoch,
            "scaler": dict(checkpoint.scaler_state),
            "extra": dict(checkpoint.extra),
            "sha256": {name: _digest(staged / name) for name in (MODEL_FILE, OPTIMIZER_FILE)},
        }
        state = {"body": body, "sha256": _text_digest(canonical_json(body))}
        (staged / STATE_FILE).write_text(json.dumps(state, indent=1, allow_nan=False))
    _drop_old(folder)
    return final


def load_checkpoint(folder: Path, device: torch.device) -> Checkpoint | None:
    """The newest whole checkpoint below `folder`, its tensors on `device`; None without one.

    A damaged one is skipped with a warning in the log, in favour of the one before it.
    """
    for own in reversed(_all(folder)):
        try:
            return _read(own, device)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            _log.warning("checkpoint %s is damaged (%s): trying the one before", own, error)
    return None


def pack_optimizer(optimizer: Optimizer) -> dict[str, Tensor]:
    """The tensors of an optimizer's state by `<index of the parameter>/<name>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}/{name}": value
        for index, values in state.items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def unpack_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put `pack_optimizer`'s tensors into an optimizer built for the same parameters.

    Hyperparameters stay those of `optimizer`. Raises ValueError where the parameters differ.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split("/")
        state.setdefault(int(index), {})[name] = tensor
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if any(index >= len(parameters) for index in state):
        raise ValueError(f"the optimizer has {len(parameters)} parameters, the state more")
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for parameter in parameters:
        for name, value in optimizer.state[parameter].items():
            # Files hold plain contiguous tensors; the fast kernels want the parameter's strides.
            if value.shape == parameter.shape:
                optimizer.state[parameter][name] = torch.empty_like(parameter).copy_(value)


def _plain(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Copies that share no memory, which safetensors would refuse."""
    copies = {}
    for name, tensor in tensors.items():
        copy = torch.empty(tensor.shape, dtype=tensor.dtype)
        copies[prefix + name] = copy.copy_(tensor.detach())
    return copies


def _read(own: Path, device: torch.device) -> Checkpoint:
    state = json.loads((own / STATE_FILE).read_text(encoding="utf-8"))
    body = state["body"]
    if _text_digest(canonical_json(body)) != state["sha256"]:
        raise ValueError(f"{STATE_FILE} does not match its checksum")
    for name, expected in body["sha256"].items():
        if _digest(own / name) != expected:
            raise ValueError(f"{name} does not match its checksum")
    trained = load_file(own / OPTIMIZER_FILE, device=str(device))
    return Checkpoint(
        epoch=body["epoch"],
        model_state=load_file(own / MODEL_FILE, device=str(device)),
        optimizer_state=_under(trained, _OPTIMIZER),
        step_loss_state=_under(trained, _STEP_LOSS),
        live_state=_under(trained, _LIVE),
        scaler_state=body["scaler"],
        extra=body["extra"],
    )


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-[0-9]*"))


def _drop_old(folder: Path) -> None:
    """Remove all but the newest checkpoints, and what killed writers left behind."""
    stale = [*_all(folder)[:-_KEPT], *folder.glob(f".epoch-*{STAGED_SUFFIX}")]
    for path in stale:
        shutil.rmtree(path, ignore_errors=True)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
