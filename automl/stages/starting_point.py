"""From what the user names to trained weights: a bundle, a trial, a checkpoint, or a folder.

A bundle's ONNX file cannot be trained (see `jobs/trained`), so a bundle stands for the checkpoint
of the network that it was exported from, as long as it lies in the study that made it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from automl.bundle import layout
from automl.bundle.loading import load_sound
from automl.bundle.manifest import Manifest
from automl.errors import UsageError
from automl.jobs.beginning import beginning_of
from automl.jobs.trained import TrainedNetwork, is_trained_network, read_trained
from automl.records import Normalisation, Scalar
from automl.space.parameters import parameters_from
from automl.stages.reproduce import recorded_experiment
from automl.stages.trial_record import trial_record
from automl.store.layout import StudyFolder
from automl.training.checkpoint import load_checkpoint

Weights = tuple[TrainedNetwork, dict[str, Tensor]]

_ALLOWED = (
    "allowed: a bundle in its study's folder, STUDY/TRIAL (such as results/camvid/4), the "
    "folder of a trial or its checkpoint, or the weights/ folder that `automl train` leaves"
)


def starting_point(given: Path) -> Weights:
    """The trained network that a path names, and its weights; raises UsageError."""
    if is_trained_network(given):
        return read_trained(given)
    if (given / layout.MANIFEST).is_file():
        return _from_bundle(given)
    if is_trained_network(StudyFolder(given).weights):
        return read_trained(StudyFolder(given).weights)
    if _is_study(given):
        raise UsageError(f"{given}: a study has many networks: name a trial, such as {given}/0")
    if _is_study(given.parent):
        return from_trial(given)
    trial = _trial_above(given)
    if trial is not None:
        return from_trial(trial)
    raise UsageError(f"{given}: nothing to continue from; {_ALLOWED}")


def study_and_trial(given: Path) -> tuple[Path, str]:
    """STUDY/TRIAL as its two parts; raises UsageError where there is no study."""
    if not _is_study(given.parent):
        raise UsageError(
            f"{given}: {given.parent} is no study; allowed: STUDY/TRIAL, such as results/camvid/4"
        )
    return given.parent, given.name


def from_trial(given: Path) -> Weights:
    """The network of STUDY/TRIAL after its last epoch."""
    root, named = study_and_trial(given)
    folder = StudyFolder(root)
    record = trial_record(folder, named)
    params = record.config.params
    normalisation = beginning_of(folder).normalisation(parameters_from(params), folder.dataset())
    network = _network(f"{root}/{record.config.number}", root, params, normalisation)
    return network, _checkpoint(folder, record.config.trial_id)


def _from_bundle(path: Path) -> Weights:
    manifest = load_sound(path).manifest
    root = path.resolve().parent.parent
    folder = StudyFolder(root)
    name = manifest.name.removeprefix(f"{manifest.dataset_name}-")
    artifact = folder.candidates / name / layout.MODEL
    if not _is_study(root) or not _same(artifact, path / layout.MODEL):
        raise UsageError(
            f"{path}: a bundle alone holds no weights that can be trained (its batch norms are "
            f"folded away), and it does not lie in the study that exported it; {_ALLOWED}"
        )
    network = _network(str(path), root, manifest.params, manifest.input.normalisation)
    return network, _checkpoint(folder, _trained_by(manifest, name))


def _trained_by(manifest: Manifest, name: str) -> str:
    """The folder of the training: a trial's id, or a student's name without its precision."""
    lineage = manifest.lineage
    student = name.removesuffix(f"-{lineage.precision}")
    return lineage.trial_id if lineage.kind == "trial" else student


def _network(
    name: str, root: Path, params: Mapping[str, Scalar], normalisation: Normalisation
) -> TrainedNetwork:
    return TrainedNetwork(
        name=name,
        params=params,
        normalisation=normalisation,
        dataset=StudyFolder(root).dataset(),
        experiment=recorded_experiment(root).to_json(),
    )


def _checkpoint(folder: StudyFolder, training: str) -> dict[str, Tensor]:
    place = folder.trial(training) / "checkpoint"
    checkpoint = load_checkpoint(place, torch.device("cpu"))
    if checkpoint is None:
        raise UsageError(f"{place}: no whole checkpoint is left; {_ALLOWED}")
    return dict(checkpoint.model_state)


def _trial_above(given: Path) -> Path | None:
    """STUDY/TRIAL of a trial's folder, or of a path inside of it."""
    place = given.resolve()
    for above in (place, *place.parents):
        if above.parent.name == "trials" and _is_study(above.parent.parent) and place.exists():
            return above.parent.parent / above.name
    return None


def _is_study(root: Path) -> bool:
    return StudyFolder(root).experiment_file.is_file()


def _same(first: Path, second: Path) -> bool:
    return first.is_file() and first.read_bytes() == second.read_bytes()
