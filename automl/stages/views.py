"""What the bundles score by averaged views of each image: beside the ranking, never in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from automl.bundle.evaluation import counts_of
from automl.bundle.inference import InferencePlan, Predict, predictor
from automl.bundle.layout import MODEL
from automl.bundle.loading import Bundle
from automl.jobs.scoring import digest, kept_measurements, quality_measurements
from automl.records import Measurement, Split, short_hash, to_json
from automl.stages.study import Study
from automl.store.markdown import markdown_table

_SPLITS: tuple[Split, ...] = ("val", "test")
_PREFACE = (
    "Masks by the mean {views}, of the bundle's own network in ONNX Runtime. Ranking and latency "
    "are without them: a view costs a run of the network, or several. `automl predict` and "
    "`automl evaluate` do it by `{options}`."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """The accuracy of each bundle alone and by the views of `plan`, by split."""

    metric: str
    plan: InferencePlan
    alone: Mapping[str, Mapping[Split, float]]
    averaged: Mapping[str, Mapping[Split, float]]

    @property
    def options(self) -> str:
        """How the commands are told to do it."""
        scales = ",".join(f"{scale:g}" for scale in self.plan.scales)
        told = [] if self.plan.scales == (1.0,) else [f"--tta-scales {scales}"]
        return " ".join([*told, *(["--tta-flip"] if self.plan.flip else [])])


def score_views(study: Study, bundles: Mapping[str, Path]) -> Views | None:
    """Score the bundles, each content once; None where the experiment asks for no views."""
    tta = study.experiment.export.tta
    if tta is None:
        return None
    plan = InferencePlan(scales=tta.scales, flip=tta.flip)
    study.narrator.say(f"views: scoring {len(bundles)} bundles by {plan.text()}")
    metric = study.experiment.objectives[0].metric
    alone: dict[str, Mapping[Split, float]] = {}
    averaged: dict[str, Mapping[Split, float]] = {}
    for name, path in bundles.items():
        bundle = Bundle.load(path, threads=study.backend.threads_per_job())
        recorded = bundle.manifest.metrics
        alone[name] = {split: recorded[split][metric] for split in _SPLITS if split in recorded}
        averaged[name] = {split: _accuracy(study, bundle, plan, split) for split in alone[name]}
    return Views(metric=metric, plan=plan, alone=alone, averaged=averaged)


def views_section(views: Views | None) -> list[str]:
    """The lines of the report's section; none where no views were asked for."""
    if views is None:
        return []
    heads = [f"{views.metric} {split}{how}" for split in _SPLITS for how in ("", " by views")]
    rows = [["bundle", *heads]]
    for name, alone in views.alone.items():
        pairs = [(alone.get(split), views.averaged[name].get(split)) for split in _SPLITS]
        cells = ["-" if value is None else f"{value:.4f}" for pair in pairs for value in pair]
        rows.append([name, *cells])
    preface = _PREFACE.format(views=views.plan.text(), options=views.options)
    return ["## Averaged views", "", preface, "", *markdown_table(rows), ""]


def views_summary(views: Views | None) -> list[str]:
    """A line for the end of a command, on the first bundle; none where no views were asked for."""
    if views is None:
        return []
    name, alone = next(iter(views.alone.items()))
    averaged = views.averaged[name]
    gains = [f"{averaged[s]:.4f} on {s} ({averaged[s] - alone[s]:+.4f})" for s in alone]
    told = ", ".join(gains)
    return [f"averaged views ({views.options}): {name} {views.metric} {told}"]


@dataclass(frozen=True, slots=True)
class _Averaging:
    """Labels images by a plan."""

    predict: Predict

    def run(self, image_hwc: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return self.predict(image_hwc)


def _accuracy(study: Study, bundle: Bundle, plan: InferencePlan, split: Split) -> float:
    key = short_hash([digest(bundle.path / MODEL), to_json(plan)])
    kept = study.folder.candidates / f"views-{split}-{key}.json"
    (found,) = kept_measurements(kept, partial(_measured, study, bundle, plan, split))
    metric = study.experiment.objectives[0].metric
    return next(m.value for m in found if m.metric == metric)


def _measured(
    study: Study, bundle: Bundle, plan: InferencePlan, split: Split
) -> list[tuple[Measurement, ...]]:
    rows = study.dataset.split(split)
    predict = predictor(bundle, plan, threads=study.backend.threads_per_job())
    counts = counts_of(
        _Averaging(predict),
        (rows.image(row) for row in range(len(rows))),
        (rows.mask(row) for row in range(len(rows))),
        len(study.dataset.info.classes),
    )
    return [quality_measurements(counts, study.dataset.info.classes, split)]
