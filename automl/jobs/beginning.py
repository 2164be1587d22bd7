"""Where a training begins that goes on from trained weights, kept in the study's folder.

Every process of a training, and whoever reproduces it later, finds there the same weights, the
same normalisation and, with elastic weight consolidation, the same Fisher information.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from automl.errors import TrialError
from automl.jobs.network import build_network
from automl.jobs.settings import combined_loss, deeply_supervised, supervised_loss
from automl.jobs.trained import TrainedNetwork, fill_trained, read_trained, rebuilt
from automl.models.build import SegmentationNet, normalisation_for
from automl.records import DatasetInfo, Normalisation, Scalar, from_json, to_json
from automl.space.parameters import TrialParameters
from automl.store.atomic import staged_folder, write_json
from automl.store.layout import StudyFolder
from automl.training.elastic import ElasticLoss
from automl.training.loop import Run
from automl.training.steps import SupervisedLoss

#: What a trained network has from its beginning, or has no use for, and no sample decides.
_GIVEN = frozenset(
    {"pruning_ratio", "decoder_width", "pretrained", "init", "head_bias", "deep_supervision"}
)

_FISHER = "fisher.safetensors"
_ELASTIC = "elastic.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Elastic:
    """How the old weights hold: `strength` 0 lets them go. `images` counts those of the Fisher."""

    strength: float = 0.0
    images: int = 0
    old_fingerprint: str | None = None

    def __post_init__(self) -> None:
        if self.strength < 0:
            raise ValueError(f"strength must be at least 0, got {self.strength}")


class Beginning(Protocol):
    """Where the trials of a study begin."""

    @property
    def given(self) -> frozenset[str]:
        """The parameters that the sample does not decide."""

    @property
    def recipe(self) -> Mapping[str, Scalar]:
        """What a network's lineage says of it."""

    def network(self, params: TrialParameters, info: DatasetInfo, *, seed: int) -> SegmentationNet:
        """The network before the first step."""

    def normalisation(self, params: TrialParameters, info: DatasetInfo) -> Normalisation:
        """How its images are normalised."""

    def step_loss(
        self, model: SegmentationNet, params: TrialParameters, info: DatasetInfo, *, seed: int
    ) -> SupervisedLoss:
        """What a training step of `model` minimises."""

    def verify(self, run: Run) -> None:
        """Raise TrialError where what is about to train does not begin here."""


class Untrained:
    """Trials begin with what their samples say: from scratch, or with a pretrained encoder."""

    given: frozenset[str] = frozenset()
    recipe: Mapping[str, Scalar] = MappingProxyType({})

    def network(self, params: TrialParameters, info: DatasetInfo, *, seed: int) -> SegmentationNet:
        """The network of the sample."""
        return build_network(params, info, seed=seed)

    def normalisation(self, params: TrialParameters, info: DatasetInfo) -> Normalisation:
        """The dataset's, or that of the pretrained weights."""
        return normalisation_for(params.model_spec(), info.normalisation)

    def step_loss(
        self, model: SegmentationNet, params: TrialParameters, info: DatasetInfo, *, seed: int
    ) -> SupervisedLoss:
        """The loss of the sample, with heads on the maps of `model` where it asks for them."""
        return deeply_supervised(supervised_loss(params, info), model, params, info, seed)

    def verify(self, run: Run) -> None:
        """The proofs of the parameters say it all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Trials go on from trained weights, `state`; `fisher` says how much each of them matters."""

    record: TrainedNetwork
    state: Mapping[str, Tensor]
    elastic: Elastic
    fisher: Mapping[str, Tensor]

    @property
    def given(self) -> frozenset[str]:
        """The shape of the network is that of its weights: a student's is no sample's."""
        return _GIVEN

    @property
    def recipe(self) -> Mapping[str, Scalar]:
        """The weights by name, and how they hold."""
        return {"continued_from": self.record.name, "ewc_lambda": self.elastic.strength}

    def network(self, params: TrialParameters, info: DatasetInfo, *, seed: int) -> SegmentationNet:
        """The network as it was trained, whatever the sample."""
        return rebuilt(self.record, self.state)

    def normalisation(self, params: TrialParameters, info: DatasetInfo) -> Normalisation:
        """That of the weights: the new data's own would shift what they know."""
        return self.record.normalisation

    def step_loss(
        self, model: SegmentationNet, params: TrialParameters, info: DatasetInfo, *, seed: int
    ) -> SupervisedLoss:
        """The loss of the sample, and of what moves away from here where that is asked for."""
        if self.elastic.strength == 0:
            return supervised_loss(params, info)
        return ElasticLoss(
            combined_loss(params, info),
            anchors={name: self.state[name] for name in self.fisher},
            fisher=self.fisher,
            strength=self.elastic.strength,
        )

    def verify(self, run: Run) -> None:
        """Compare what is about to train with the weights; only before the first step.

        Raises TrialError naming tensors that differ, or where nothing holds them as declared.
        """
        loss = run.module.step_loss
        held = loss.strength if isinstance(loss, ElasticLoss) else 0.0
        if held != self.elastic.strength:
            raise TrialError(f"without effect: ewc-lambda {self.elastic.strength:g}, live {held:g}")
        live = run.module.model.state_dict() if run.epochs_done == 0 else {}
        wrong = [
            name for name, value in live.items() if not _equal(value.cpu(), self.state.get(name))
        ]
        if wrong:
            raise TrialError(f"does not begin with the given weights: {', '.join(wrong[:3])}")


def write_beginning(folder: Path, beginning: Trained) -> None:
    """Keep it, whole or not at all."""
    with staged_folder(folder) as staged:
        fill_trained(staged, beginning.record, beginning.state)
        if beginning.fisher:
            plain = {k: v.detach().cpu().contiguous() for k, v in beginning.fisher.items()}
            save_file(plain, staged / _FISHER)
        write_json(staged / _ELASTIC, to_json(beginning.elastic))


def beginning_of(study: StudyFolder) -> Beginning:
    """Where the trials of a study begin, as its folder says."""
    trained = trained_beginning(study)
    return Untrained() if trained is None else trained


def trained_beginning(study: StudyFolder) -> Trained | None:
    """The weights that a study goes on from; None for one that begins with its samples."""
    folder = study.beginning
    if not folder.exists():
        return None
    record, state = read_trained(folder)
    plain = json.loads((folder / _ELASTIC).read_text(encoding="utf-8"))
    fisher = load_file(folder / _FISHER) if (folder / _FISHER).exists() else {}
    return Trained(record=record, state=state, elastic=from_json(Elastic, plain), fisher=fisher)


def _equal(live: Tensor, given: Tensor | None) -> bool:
    return given is not None and torch.equal(live, given)
