"""Going on from trained weights: what holds the old ones, and what was learnt and forgotten."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from automl.data.dataset import Dataset
from automl.data.importing import cached_for_network
from automl.data.letterbox import Frame
from automl.errors import DataError, UsageError
from automl.jobs.beginning import Elastic, Trained, trained_beginning, write_beginning
from automl.jobs.costs import export_wrapped
from automl.jobs.scoring import measured_quality
from automl.jobs.trained import rebuilt
from automl.records import Candidate, DatasetInfo, Measurement, Split, to_json
from automl.space.experiment import Experiment
from automl.space.parameters import parameters_from
from automl.stages.study import Study
from automl.stages.training_plan import Start
from automl.store.atomic import write_json
from automl.training.borrowing import on_device
from automl.training.elastic import fisher_diagonal
from automl.training.evaluation import normalise
from automl.training.ranks import compute_device

#: Training images of the old data from which the Fisher information is taken, evenly spread.
FISHER_IMAGES = 200

#: Nothing is chosen by these scores, and test is for the end.
_SPLIT: Split = "val"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataScores:
    """The quality on the val images of one dataset, by metric, before the training and after it."""

    data: str
    dataset: str
    fingerprint: str
    images: int
    before: Mapping[str, float]
    after: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinualReport:
    """What was learnt (`new`) and forgotten (`old`, where its data is at hand)."""

    continued_from: str
    ewc_lambda: float
    fisher_images: int
    split: Split
    scores: tuple[DataScores, ...]


def old_dataset(start: Start) -> Dataset | None:
    """The data that the weights come from; None where it is not at hand and not needed.

    Raises UsageError where it is needed or given and cannot be used.
    """
    known = start.network.dataset
    split_seed = Experiment.from_json(start.network.experiment).data.split_seed
    try:
        dataset = cached_for_network(
            start.old_source,
            Frame(known.size, known.resize),
            known.classes,
            split_seed=split_seed,
        )
    except DataError as error:
        if start.must_match and start.ewc_lambda == 0:
            return None
        raise UsageError(f"{error}\n--old-data names where the old data lies now") from error
    if start.must_match and dataset.info.fingerprint != known.fingerprint:
        if start.ewc_lambda == 0:
            return None
        raise UsageError(
            f"{start.old_source}: not what the weights were trained on ({known.name}, fingerprint "
            f"{known.fingerprint}): --old-data names where that lies now, or other data that "
            "stands for it"
        )
    return dataset


def prepare_beginning(study: Study, start: Start | None, old: Dataset | None) -> None:
    """Put the weights, and what holds them, into the study's folder, once; None: there are none.

    Raises UsageError where the folder holds a training that began otherwise.
    """
    before = trained_beginning(study.folder)
    if start is None:
        if before is not None:
            raise UsageError(_another(study.folder.root, f"went on from {before.record.name}"))
        return
    elastic = Elastic(
        strength=start.ewc_lambda,
        images=0 if start.ewc_lambda == 0 or old is None else _num_fisher_images(old),
        old_fingerprint=None if start.ewc_lambda == 0 or old is None else old.info.fingerprint,
    )
    if before is not None:
        _check_same(study.folder.root, before, start, elastic)
        return
    if study.folder.trials.exists():
        raise UsageError(_another(study.folder.root, "did not go on from trained weights"))
    fisher: Mapping[str, Tensor] = {}
    if elastic.strength > 0:
        assert old is not None
        study.narrator.say(f"fisher: {elastic.images} training images of {old.info.name}")
        fisher = _fisher(study, start, old)
    trained = Trained(record=start.network, state=start.state, elastic=elastic, fisher=fisher)
    write_beginning(study.folder.beginning, trained)


def _check_same(root: Path, before: Trained, start: Start, elastic: Elastic) -> None:
    same = before.state.keys() == start.state.keys() and all(
        torch.equal(before.state[name], value) for name, value in start.state.items()
    )
    if not same or before.elastic != elastic:
        what = "--ewc-lambda or old data" if same else "weights"
        was = f"from {before.record.name}, ewc-lambda {before.elastic.strength:g}"
        raise UsageError(_another(root, f"went on with other {what} ({was})"))


def _another(root: Path, how: str) -> str:
    return (
        f"{root}: holds a training that {how}; choose another --out, or start anew with --overwrite"
    )


def _fisher(study: Study, start: Start, old: Dataset) -> dict[str, Tensor]:
    device = compute_device(study.experiment.train.device)
    model = rebuilt(start.network, start.state)
    with on_device(model, device):
        samples = _normalised_samples(old, start, device)
        found = fisher_diagonal(model, samples, seed=study.experiment.search.seed)
    return {name: value.cpu() for name, value in found.items()}


def _normalised_samples(
    old: Dataset, start: Start, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    split = old.split("train")
    for row in np.linspace(0, len(split) - 1, _num_fisher_images(old)).round().astype(int):
        image_1hwc = torch.from_numpy(np.array(split.image(int(row)))[None]).to(device)
        mask_1hw = torch.from_numpy(np.array(split.mask(int(row)))[None]).to(device)
        yield normalise(image_1hwc, start.network.normalisation), mask_1hw


def _num_fisher_images(old: Dataset) -> int:
    return min(FISHER_IMAGES, len(old.split("train")))


def report_continual(study: Study, old: Dataset | None, after: Candidate) -> ContinualReport:
    """Score the files of before and after on both datasets, and write `continual.json`."""
    trained = trained_beginning(study.folder)
    assert trained is not None
    study.narrator.say("continual: scoring before and after on val")
    datasets = {"new": study.dataset} if old is None else {"old": old, "new": study.dataset}
    files = {"after": study.folder.absolute(after.artifact)}
    with tempfile.TemporaryDirectory() as scratch:
        files["before"] = Path(scratch) / "model.onnx"
        info, params = study.dataset.info, parameters_from(trained.record.params)
        network = trained.network(params, info, seed=0)
        export_wrapped(network, files["before"], info, trained.record.normalisation)
        scores = tuple(_scores(study, name, data, files) for name, data in datasets.items())
    report = ContinualReport(
        continued_from=trained.record.name,
        ewc_lambda=trained.elastic.strength,
        fisher_images=trained.elastic.images,
        split=_SPLIT,
        scores=scores,
    )
    write_json(study.folder.continual_file, to_json(report))
    return report


def _scores(study: Study, name: str, dataset: Dataset, files: Mapping[str, Path]) -> DataScores:
    threads, runtime = study.backend.threads_per_job(), study.experiment.target.runtime
    before, after = (
        scores_of_present(
            measured_quality(files[when], dataset, _SPLIT, threads=threads, runtime=runtime),
            dataset.info,
        )
        for when in ("before", "after")
    )
    return DataScores(
        data=name,
        dataset=dataset.info.name,
        fingerprint=dataset.info.fingerprint,
        images=len(dataset.split(_SPLIT)),
        before=before,
        after=after,
    )


def scores_of_present(found: Sequence[Measurement], info: DatasetInfo) -> dict[str, float]:
    """The scores by metric, over the classes that the split holds.

    Another class has an IoU of 0 as soon as one pixel is taken for it, and none at all otherwise:
    the means of before and after would not be of the same classes.
    """
    values = {measurement.metric: measurement.value for measurement in found}
    held = dict(zip(info.classes, info.class_images[_SPLIT], strict=True))
    if all(held.values()):
        return values
    iou_k = np.array([values[f"iou.{name}"] for name in info.classes if held[name]])
    others = {metric: v for metric, v in values.items() if held.get(metric.removeprefix("iou."), 1)}
    # Dice = 2 TP / (2 TP + FP + FN) = 2 IoU / (1 + IoU).
    means = {"miou": float(iou_k.mean()), "dice": float((2 * iou_k / (1 + iou_k)).mean())}
    return {**others, **means}
