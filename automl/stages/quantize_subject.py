"""What `automl quantize` is given: a bundle, or a trial of a study with its checkpoint.

A bundle holds an exported network, which can be quantized but not trained; a trial can be
fine-tuned as well. Both come down to the same: an exported network, and what a bundle says of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from automl.bundle import layout
from automl.bundle.loading import load_sound
from automl.bundle.unwrap import unwrap_network
from automl.errors import UsageError
from automl.jobs.beginning import beginning_of
from automl.jobs.candidates import ARTIFACT, CORE, FinishedNetwork
from automl.jobs.costs import export_wrapped
from automl.jobs.network import restore_network
from automl.measurement.cost import model_cost
from automl.records import (
    Candidate,
    DatasetInfo,
    Lineage,
    Normalisation,
    Scalar,
    TrialConfig,
    from_json,
)
from automl.resize import Resize
from automl.space.experiment import Experiment
from automl.space.parameters import TrialParameters, parameters_from
from automl.space.policies.searched import policy_parameters
from automl.stages.reproduce import recorded_experiment
from automl.stages.trial_record import trial_record
from automl.store.layout import StudyFolder
from automl.training.checkpoint import load_checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainable:
    """A network that can be fine-tuned, and the experiment that it was trained in."""

    network: FinishedNetwork
    experiment: Experiment
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A network to quantize; `trainable` is None where only its export is there."""

    name: str
    source: Path
    info: DatasetInfo | None
    classes: tuple[str, ...]
    size: tuple[int, int]
    resize: Resize
    split_seed: int
    fingerprint: str
    normalisation: Normalisation
    lineage: Lineage
    params: Mapping[str, Scalar]
    params_m: float
    macs_g: float
    seeds: Mapping[str, int]
    trainable: Trainable | None

    def export(self, folder: Path) -> None:
        """Write the float32 network, bare and wrapped, into a folder."""
        if self.trainable is None:
            folder.joinpath(ARTIFACT).write_bytes(load_sound(self.source).model())
            unwrap_network(
                folder / ARTIFACT, folder / CORE, size=self.size, num_classes=len(self.classes)
            )
            return
        assert self.info is not None
        export_wrapped(
            self.trainable.network.model, folder / ARTIFACT, self.info, self.normalisation
        )


def find_subject(model: Path) -> Subject:
    """Read a bundle, or a trial as STUDY/TRIAL or by its folder, which a student has, too.

    Raises:
        UsageError: it is neither, or is INT8 already.
        BundleError: a bundle that is damaged.
    """
    study = StudyFolder(model.parent)
    if study.experiment_file.is_file() and not model.exists():
        return _trial(study.trial(trial_record(study, model.name).config.trial_id))
    trial = model.parent if model.name == "checkpoint" else model
    if trial.resolve().parent.name == "trials" and (trial / "checkpoint").is_dir():
        return _trial(trial.resolve())
    if model.is_file() or (model / layout.MANIFEST).exists():
        return _bundle(model)
    raise UsageError(
        f"{model}: neither a bundle (a folder with {layout.MANIFEST}, or packed) nor a trained "
        "trial or student of a study, such as results/my-study/4 or "
        "results/my-study/trials/trial4-student1"
    )


def _bundle(path: Path) -> Subject:
    manifest = load_sound(path).manifest
    if manifest.precision != "fp32":
        raise UsageError(f"{path}: is {manifest.precision} already; give the FP32 bundle")
    return Subject(
        name=manifest.name,
        source=path,
        info=None,
        classes=manifest.classes,
        size=manifest.input.size,
        resize=manifest.input.resize,
        split_seed=manifest.seeds.get("split", 0),
        fingerprint=manifest.dataset_fingerprint,
        normalisation=manifest.input.normalisation,
        lineage=manifest.lineage,
        params=manifest.params,
        params_m=manifest.params_m,
        macs_g=manifest.macs_g,
        seeds=manifest.seeds,
        trainable=None,
    )


def _trial(path: Path) -> Subject:
    root = path.parent.parent
    folder = StudyFolder(root)
    experiment, info = recorded_experiment(root), folder.dataset()
    checkpoint = load_checkpoint(path / "checkpoint", torch.device("cpu"))
    if checkpoint is None:
        raise UsageError(f"{path / 'checkpoint'}: no whole checkpoint is left")
    params, lineage, config = _recorded(folder, path.name)
    network = FinishedNetwork(
        name=path.name,
        model=restore_network(params, info, checkpoint.model_state),
        params=params,
        normalisation=beginning_of(folder).normalisation(params, info),
        lineage=lineage,
        policy_params=policy_parameters(config.params),
    )
    params_m, macs_g = model_cost(network.model, info.size)
    return Subject(
        name=f"{info.name}-{path.name}",
        source=path,
        info=info,
        classes=info.classes,
        size=info.size,
        resize=info.resize,
        split_seed=experiment.data.split_seed,
        fingerprint=info.fingerprint,
        normalisation=network.normalisation,
        lineage=lineage,
        params=params.values(),
        params_m=params_m,
        macs_g=macs_g,
        seeds={"study": experiment.search.seed, "split": experiment.data.split_seed},
        trainable=Trainable(network=network, experiment=experiment, seed=config.seed),
    )


def _recorded(folder: StudyFolder, name: str) -> tuple[TrialParameters, Lineage, TrialConfig]:
    """The parameters and lineage of a trial, or of a student, which its candidate knows."""
    file = folder.candidate(f"{name}-fp32") / "candidate.json"
    if not file.exists():
        record = trial_record(folder, name)
        lineage = Lineage(
            trial_id=name, kind="trial", precision="fp32", recipe={"epochs": record.epochs}
        )
        return parameters_from(record.config.params), lineage, record.config
    candidate = from_json(Candidate, json.loads(file.read_text(encoding="utf-8")))
    config = trial_record(folder, candidate.lineage.trial_id).config
    return parameters_from(candidate.params), candidate.lineage, config
