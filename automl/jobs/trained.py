"""A trained network as a folder of its own: its weights, and all that it takes to build it again.

A bundle cannot be trained further: its ONNX file has the batch norms folded into the convolutions
and another name for every tensor, and its quantized twin has no such weights at all. So a training
leaves this folder beside its bundles. It is plain data (safetensors and JSON) and may be moved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from automl.errors import UsageError
from automl.jobs.network import restore_network
from automl.models.build import SegmentationNet
from automl.records import DatasetInfo, Normalisation, Scalar, from_json, to_json
from automl.space.parameters import parameters_from
from automl.store.atomic import staged_folder, write_json

_WEIGHTS = "weights.safetensors"
_RECORD = "model.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedNetwork:
    """What a network is, and what it was trained on; `experiment` is how, in its plain form.

    `name` says where it comes from, for people. Images are normalised by `normalisation`.
    """

    name: str
    params: Mapping[str, Scalar]
    normalisation: Normalisation
    dataset: DatasetInfo
    experiment: Mapping[str, Any]


def write_trained(folder: Path, network: TrainedNetwork, state: Mapping[str, Tensor]) -> None:
    """Make the folder, whole or not at all."""
    with staged_folder(folder) as staged:
        fill_trained(staged, network, state)


def fill_trained(folder: Path, network: TrainedNetwork, state: Mapping[str, Tensor]) -> None:
    """Put record and weights into a folder that is there."""
    save_file({k: v.detach().cpu().contiguous() for k, v in state.items()}, folder / _WEIGHTS)
    write_json(folder / _RECORD, to_json(network))


def is_trained_network(folder: Path) -> bool:
    """Whether a folder looks like one of these."""
    return (folder / _RECORD).is_file() and (folder / _WEIGHTS).is_file()


def read_trained(folder: Path) -> tuple[TrainedNetwork, dict[str, Tensor]]:
    """The record and the weights; raises UsageError where they cannot be read."""
    try:
        plain = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        return from_json(TrainedNetwork, plain), load_file(folder / _WEIGHTS)
    except (OSError, ValueError, ValidationError, SafetensorError) as error:
        raise UsageError(f"{folder}: not readable as a trained network: {error}") from error


def rebuilt(network: TrainedNetwork, state: Mapping[str, Tensor]) -> SegmentationNet:
    """The network with its weights, in the shape that they have."""
    return restore_network(parameters_from(network.params), network.dataset, state)
