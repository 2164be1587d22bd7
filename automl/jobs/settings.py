"""From a trial's parameters and an experiment's declarations to what the training loop takes."""

from __future__ import annotations

import torch
from torch import Tensor

from automl.jobs.early_stop import early_stop_of
from automl.models.build import SegmentationNet
from automl.models.reading import map_channels_in
from automl.records import DatasetInfo, Normalisation
from automl.space.declared import step_options
from automl.space.parameters import TrialParameters
from automl.space.speed import LoaderWorkers
from automl.space.training import TrainSettings
from automl.training.deep_supervision import DeepSupervision
from automl.training.losses import CombinedLoss, LossOptions, class_weights_from
from automl.training.manner import Manner
from automl.training.ranks import compute_device
from automl.training.recipe import Recipe
from automl.training.settings import FitSettings
from automl.training.steps import SupervisedLoss


def fit_settings(
    params: TrialParameters,
    train: TrainSettings,
    *,
    normalisation: Normalisation,
    seed: int,
    epochs: int | None = None,
    learning_rate: float | None = None,
) -> FitSettings:
    """The loop's settings; `epochs` and `learning_rate` replace the declared ones where given."""
    steps = step_options(params, train)
    return FitSettings(
        epochs=train.epochs if epochs is None else epochs,
        normalisation=normalisation,
        batch_size=params.batch_size,
        learning_rate=params.learning_rate if learning_rate is None else learning_rate,
        weight_decay=params.weight_decay,
        optimizer=params.optimizer,
        warmup_epochs=steps.warmup_epochs,
        accumulate=steps.accumulate,
        clip_norm=steps.clip_norm,
        # Until it is measured, the usual one.
        precision="auto" if train.precision == "fastest" else train.precision,
        device=train.device,
        seed=seed,
        augmentation=params.augmentation,
        cutmix=params.cutmix,
        classmix=params.classmix,
        copy_paste=params.copy_paste,
        mixup=params.mixup,
        oversample=params.oversample,
        loader_workers=loader_workers(train.loader_workers, train.device),
        manner=Manner(deterministic=train.deterministic),
        recipe=_recipe(params, train),
    )


def _recipe(params: TrialParameters, train: TrainSettings) -> Recipe:
    return Recipe(
        schedule=params.schedule,
        encoder_lr_factor=params.encoder_lr_factor,
        layer_decay=params.layer_decay,
        freeze_epochs=params.freeze_epochs,
        ema_decay=params.ema_decay,
        ema_distillation=params.ema_distillation,
        early_stop=early_stop_of(train),
        sync_batch_norm=train.sync_batch_norm,
    )


def loader_workers(declared: LoaderWorkers, device: str) -> int:
    """As declared; else on a GPU the job's CPU threads prepare batches ahead, on a CPU they train.

    Where it is to be measured, this holds until it is.
    """
    if isinstance(declared, int):
        return declared
    on_gpu = compute_device(device).type == "cuda"
    return torch.get_num_threads() if on_gpu else 0


def class_weights(params: TrialParameters, info: DatasetInfo) -> Tensor | None:
    """What pixels of each class (K,) weigh in a trial's losses; None where all weigh the same."""
    return class_weights_from(
        info.class_pixel_share, kind=params.class_weights, num_images=info.counts["train"]
    )


def combined_loss(params: TrialParameters, info: DatasetInfo) -> CombinedLoss:
    """The loss of a sample: `alpha * region + (1 - alpha) * focal(gamma)`, classes weighted."""
    return CombinedLoss(
        alpha=params.alpha,
        gamma=params.gamma,
        class_weights=class_weights(params, info),
        options=LossOptions(
            region_loss=params.region_loss,
            label_smoothing=params.label_smoothing,
            ohem_share=params.ohem_share,
            boundary_weight=params.boundary_weight,
        ),
    )


def supervised_loss(params: TrialParameters, info: DatasetInfo) -> SupervisedLoss:
    """The loss of a trial's training step."""
    return SupervisedLoss(combined_loss(params, info))


def deeply_supervised(
    loss: SupervisedLoss,
    model: SegmentationNet,
    params: TrialParameters,
    info: DatasetInfo,
    seed: int,
) -> SupervisedLoss:
    """The loss with heads on the maps of `model`, where the sample asks for them."""
    if params.deep_supervision == 0:
        return loss
    return DeepSupervision(
        loss.loss,
        weight=params.deep_supervision,
        map_channels=map_channels_in(model, info.size),
        num_classes=len(info.classes),
        seed=seed,
    )
