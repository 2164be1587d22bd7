"""Start a network from weights that an earlier one has learnt.

A trial's donor is chosen when the trial is started for the first time, and what it gave is put into
the trial's folder (`donor/`): a trial that is started again, or reproduced later, begins with the
same weights, whatever became of the donor since.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from automl.jobs.context import JobContext
from automl.records import TrialConfig, TrialStatus, Verdict, from_json, to_json
from automl.space.parameters import parameters_from
from automl.store.atomic import staged_folder, write_json
from automl.training.checkpoint import MODEL_FILE, load_checkpoint
from automl.training.ranks import from_first_rank, global_rank

_ENCODER = "encoder."
_WEIGHTS = "weights.safetensors"
_RECORD = "donor.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Donor:
    """Whose weights a trial started from: `tensors` of them, after `epoch`; None: nobody's."""

    trial_id: str | None = None
    epoch: int = 0
    tensors: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resting:
    """A trial that does not run: it ended, or waits at a rung."""

    config: TrialConfig
    epoch: int


def inherit_weights(heir: nn.Module, weights: Mapping[str, Tensor]) -> int:
    """Copy each tensor that the heir has under the same name and in the same shape; how many."""
    target = heir.state_dict()
    fitting = _fitting(target, weights)
    heir.load_state_dict({**target, **fitting})
    return len(fitting)


def start_from_donor(model: nn.Module, config: TrialConfig, context: JobContext) -> None:
    """Give an untrained network the weights of the earlier trial that it overlaps most.

    In a group of processes every one calls this: the first chooses, then each takes the weights.
    """
    folder = context.folder.trial(config.trial_id) / "donor"
    if global_rank() == 0 and not folder.exists():
        _choose(model, config, context, folder)
    from_first_rank(None)  # the choice is on disk
    if (folder / _WEIGHTS).exists():
        inherit_weights(model, load_file(folder / _WEIGHTS))


def _choose(model: nn.Module, config: TrialConfig, context: JobContext, folder: Path) -> None:
    """Put the best donor's tensors that fit, and its name, into `folder`, which appears whole."""
    donor, given = Donor(), dict[str, Tensor]()
    for resting in _candidates(model, config, context):
        checkpoint = load_checkpoint(_checkpoints(context, resting.config), torch.device("cpu"))
        if checkpoint is not None:
            given = _fitting(model.state_dict(), checkpoint.model_state)
            donor = Donor(
                trial_id=resting.config.trial_id, epoch=checkpoint.epoch, tensors=len(given)
            )
            break
    with staged_folder(folder) as staged:
        if given:
            save_file(given, staged / _WEIGHTS)
        write_json(staged / _RECORD, to_json(donor))


def _candidates(model: nn.Module, config: TrialConfig, context: JobContext) -> Iterator[_Resting]:
    """Earlier trials with this encoder, the best donor first.

    That is the one of which most of the encoder fits, to a tenth; then the one that trained
    longest; then the earliest. A tenth at least has to fit.
    """
    own = parameters_from(config.params)
    ranked = []
    for resting in resting_trials(context.events()):
        other = parameters_from(resting.config.params)
        if resting.config.number >= config.number or other.encoder != own.encoder:
            continue
        # Images are normalised otherwise for pretrained weights.
        if other.pretrained != own.pretrained:
            continue
        context.bring(_checkpoints(context, resting.config))
        tenths = round(10 * _overlap(model, _checkpoints(context, resting.config)))
        if tenths > 0:
            ranked.append(((-tenths, -resting.epoch, resting.config.number), resting))
    return (resting for _, resting in sorted(ranked, key=lambda pair: pair[0]))


def resting_trials(events: Sequence[Mapping[str, Any]]) -> list[_Resting]:
    """The trials of a journal that have trained and do not run now, in the order of proposal."""
    configs: dict[str, TrialConfig] = {}
    epochs: dict[str, int] = {}
    rests: dict[str, bool] = {}
    for event in events:
        if event["kind"] == "proposed":
            config = from_json(TrialConfig, event["config"])
            configs[config.trial_id] = config
        elif event["kind"] == "message":
            trial_id, message = event["trial_id"], event["message"]
            epochs[trial_id] = max(epochs.get(trial_id, 0), message["epoch"])
            rests[trial_id] = _rests_after(message, event["verdict"])
        elif event["kind"] == "promoted":
            rests[event["trial_id"]] = False
    return [
        _Resting(config=config, epoch=epochs[trial_id])
        for trial_id, config in configs.items()
        if rests.get(trial_id, False) and epochs[trial_id] > 0
    ]


def _rests_after(message: Mapping[str, Any], verdict: str) -> bool:
    if message["kind"] == "end":
        return message["status"] in (TrialStatus.COMPLETED, TrialStatus.STOPPED)
    return message["kind"] == "epoch" and verdict != Verdict.CONTINUE


def _overlap(model: nn.Module, checkpoints: Path) -> float:
    """The share of the encoder's numbers that the newest checkpoint has in the same shape."""
    files = sorted(checkpoints.glob(f"epoch-*/{MODEL_FILE}"))
    if not files:
        return 0.0
    with safe_open(files[-1], framework="pt") as stored:
        names = stored.keys()
        shapes = {name: tuple(stored.get_slice(name).get_shape()) for name in names}
    own = {k: v for k, v in model.state_dict().items() if k.startswith(_ENCODER)}
    fitting: int = sum(v.numel() for k, v in own.items() if shapes.get(k) == tuple(v.shape))
    return fitting / sum(int(value.numel()) for value in own.values())


def _fitting(target: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in weights.items() if k in target and target[k].shape == v.shape}


def _checkpoints(context: JobContext, config: TrialConfig) -> Path:
    return context.folder.trial(config.trial_id) / "checkpoint"
