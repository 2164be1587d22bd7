"""What cheap proxies say about an architecture before any training; kept by architecture."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from automl.bounds import violations
from automl.data.dataset import Dataset
from automl.errors import StudyError
from automl.jobs.context import JobContext, torch_threads
from automl.jobs.costs import measure_costs
from automl.jobs.network import build_network
from automl.measurement.proxies import ProbeBatch, proxy_scores
from automl.models.build import normalisation_for
from automl.records import (
    Measurement,
    Normalisation,
    Scalar,
    TrialConfig,
    from_json,
    short_hash,
    to_json,
)
from automl.space.parameters import TrialParameters, parameters_from
from automl.store.atomic import write_json, write_text
from automl.training.evaluation import normalise
from automl.training.losses import CombinedLoss

#: The parameters that determine a network and the weights that it starts with.
ARCHITECTURE = ("encoder", "decoder", "decoder_width", "pretrained", "pruning_ratio")

#: Images that a network is probed with.
PROBE_IMAGES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreeningJob:
    """The untrained network of `config` to score, if it keeps the constraints."""

    context: JobContext
    config: TrialConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreeningOutcome:
    """Costs and scores of an architecture; `fault` says why there are no scores."""

    costs: tuple[Measurement, ...] = ()
    scores: Mapping[str, float] | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRecord:
    """The scores of one architecture, as kept on disk."""

    scores: Mapping[str, float]


def screen_architecture(job: ScreeningJob) -> ScreeningOutcome:
    """Measure the costs of a network and, where it is feasible, its proxies.

    A fault is told in the outcome, and costs only this architecture.
    """
    job = replace(job, context=job.context.here())
    costs: tuple[Measurement, ...] = ()
    try:
        with torch_threads(job.context.threads):
            costs = measure_costs(job.config, job.context)
            excess = violations(job.context.experiment.constraints, costs)
            broken = [name for name, value in excess.items() if value > 0]
            if broken:
                return ScreeningOutcome(costs=costs, fault=f"infeasible: {', '.join(broken)}")
            return ScreeningOutcome(costs=costs, scores=_scores(job))
    except StudyError:
        raise  # the study's fault, not this network's
    except Exception as error:
        log = _file(job).with_suffix(".error.txt")
        write_text(log, traceback.format_exc())
        job.context.keep(log)
        return ScreeningOutcome(costs=costs, fault=f"{type(error).__name__}: {error}")


def architecture_of(params: Mapping[str, Scalar]) -> str:
    """A key: equal for trials whose networks are built alike."""
    full = parameters_from(params)
    return short_hash({name: getattr(full, name) for name in ARCHITECTURE}, length=16)


def probe_batch(dataset: Dataset, normalisation: Normalisation, *, seed: int) -> ProbeBatch:
    """Training images drawn by `seed`, not augmented, with the plain cross entropy as the loss."""
    split = dataset.split("train")
    count = min(PROBE_IMAGES, len(split))
    rows = np.random.default_rng(seed).choice(len(split), size=count, replace=False)
    images_nhwc = np.stack([split.image(int(row)) for row in rows])
    masks_nhw = np.stack([split.mask(int(row)) for row in rows]).astype(np.int64)
    return ProbeBatch(
        images_nchw=normalise(torch.from_numpy(images_nhwc), normalisation),
        target_nhw=torch.from_numpy(masks_nhw),
        loss=CombinedLoss(alpha=0.0, gamma=0.0),
    )


def _scores(job: ScreeningJob) -> Mapping[str, float]:
    """The proxies, from the cache if there; weights and images depend on the study's seed alone."""
    file = _file(job)
    job.context.bring(file)
    if file.exists():
        return from_json(ScoreRecord, json.loads(file.read_text(encoding="utf-8"))).scores
    params: TrialParameters = parameters_from(job.config.params)
    dataset = job.context.dataset()
    seed = job.context.experiment.search.seed
    normalisation = normalisation_for(params.model_spec(), dataset.info.normalisation)
    model = build_network(params, dataset.info, seed=seed)
    scores = proxy_scores(model, probe_batch(dataset, normalisation, seed=seed))
    write_json(file, to_json(ScoreRecord(scores=scores)))
    job.context.keep(file)
    return scores


def _file(job: ScreeningJob) -> Path:
    return job.context.folder.proxies / f"{architecture_of(job.config.params)}.json"
