"""What a trial trains, built from its sample: network, loss, settings, and what proves them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from automl.data.dataset import Dataset
from automl.jobs.beginning import Beginning, beginning_of
from automl.jobs.context import JobContext
from automl.jobs.live import Sample
from automl.jobs.memory import micro_batches
from automl.jobs.settings import fit_settings
from automl.jobs.speed import wanted_of, with_fastest, without_compiling
from automl.models.build import SegmentationNet
from automl.records import TrialConfig
from automl.space.declared import step_options
from automl.space.parameters import parameters_from
from automl.space.policies.searched import resolved_policy
from automl.space.training import TrainSettings
from automl.training.deep_supervision import DeepSupervision
from automl.training.settings import FitSettings
from automl.training.steps import SupervisedLoss
from automl.training.tuning import Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainee:
    """All that `prepared` takes, and what the trial is compared with before it trains."""

    dataset: Dataset
    beginning: Beginning
    model: SegmentationNet
    loss: SupervisedLoss
    settings: FitSettings
    sample: Sample


def trainee_of(config: TrialConfig, context: JobContext) -> Trainee:
    """Build a trial; how it trains fastest, where that is asked for, is measured and kept."""
    params = parameters_from(config.params)
    dataset, folder = context.dataset(), context.folder.trial(config.trial_id)
    beginning = beginning_of(context.folder)
    experiment = context.experiment
    train, fidelity = experiment.train, experiment.fidelity
    policy = experiment.policy(config.params)
    normalisation = beginning.normalisation(params, dataset.info)
    settings = fit_settings(params, train, normalisation=normalisation, seed=config.seed)
    model = beginning.network(params, dataset.info, seed=config.seed)
    loss = beginning.step_loss(model, params, dataset.info, seed=config.seed)
    settings = with_fastest(
        replace(
            settings,
            augmentation=params.augmentation if policy is None else policy,
            fidelity=fidelity,
            micro_batches=micro_batches(folder),
        ),
        _wanted(train, loss),
        folder,
        trained=(model, loss),
        dataset=dataset,
    )
    sample = Sample(
        params=params,
        seed=config.seed,
        precision=settings.precision,
        info=dataset.info,
        fidelity=fidelity,
        manner=settings.manner,
        given=beginning.given,
        # Not asked of the experiment, whose answer trains: the two are compared.
        policy=resolved_policy(experiment.augmentation_policies, config.params),
        sync_batch_norm=train.sync_batch_norm,
        steps=step_options(params, train),
    )
    return Trainee(
        dataset=dataset,
        beginning=beginning,
        model=model,
        loss=loss,
        settings=settings,
        sample=sample,
    )


def _wanted(train: TrainSettings, loss: SupervisedLoss) -> Wanted:
    """What is left to a measurement; a loss that asks for maps never calls the network itself."""
    wanted = wanted_of(train)
    return without_compiling(wanted) if isinstance(loss, DeepSupervision) else wanted
