"""Distillation: a small network learns from a large one besides the labels.

Shapes: N batch, K classes, C feature channels, H and W pixels, h and w cells of a feature map.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from automl.compression.matching import FeatureMatching
from automl.compression.recorded import RecordedTeacher

#: A loss (a scalar) of logits (N, K, H, W) and labels (N, H, W).
TaskLoss = Callable[[Tensor, Tensor], Tensor]


#: The same of a model, its normalised images (N, 3, H, W) and labels: a step's loss.
TaskOfStep = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class _Answers:
    """What a teacher says of a batch; features are there where they are learnt from."""

    logits_nkhw: Tensor
    features_nchw: Tensor | None
    stages: Sequence[Tensor] = ()


class FeatureNet(Protocol):
    """A network that also gives the features its head reads; an `nn.Module`."""

    def forward_with_features(self, images_nchw: Tensor) -> tuple[Tensor, Tensor]:
        """The logits (N, K, H, W) and the decoder's features (N, C, h, w)."""

    def forward_with_stages(self, images_nchw: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """Beside these, the encoder's maps; asked for only where stages are matched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillationSettings:
    """Weights and temperatures of the distillation losses; a weight of 0 turns one off."""

    temperature: float = 2.0
    logit_weight: float = 1.0
    channel_temperature: float = 4.0
    channel_weight: float = 0.0
    feature_weight: float = 0.0

    def __post_init__(self) -> None:
        for name in ("temperature", "channel_temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("logit_weight", "channel_weight", "feature_weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")


def pixel_distillation(
    student_nkhw: Tensor,
    teacher_nkhw: Tensor,
    temperature: float,
    class_weights_k: Tensor | None = None,
) -> Tensor:
    """`T^2` times the mean over pixels of KL(teacher || student) of softmaxes at temperature T.

    With `class_weights_k` it is a weighted mean: a pixel weighs what the teacher expects of its
    class, `sum_k p_k w_k` with the teacher's probabilities `p` at temperature 1.

    Source: Hinton et al. 2015 (arXiv:1503.02531), section 2, for each pixel as in Liu et al. 2019
    (arXiv:1903.04197), eq. 1; the weights are ours. Half precisions are computed in float32.
    """
    teacher_nkhw = _full(teacher_nkhw)
    log_student = F.log_softmax(_full(student_nkhw) / temperature, dim=1)
    log_teacher = F.log_softmax(teacher_nkhw / temperature, dim=1)
    divergence_nhw = (log_teacher.exp() * (log_teacher - log_student)).sum(1)
    if class_weights_k is None:
        return temperature**2 * divergence_nhw.mean()
    weights_k = class_weights_k.to(teacher_nkhw)
    weights_nhw = torch.einsum("nkhw,k->nhw", teacher_nkhw.softmax(dim=1), weights_k)
    return temperature**2 * (weights_nhw * divergence_nhw).sum() / weights_nhw.sum()


def channel_distillation(student_nchw: Tensor, teacher_nchw: Tensor, temperature: float) -> Tensor:
    """`T^2` times the mean over channels of KL(teacher || student) of softmaxes over space.

    Source: Shu et al. 2021 (arXiv:2011.13256), eq. 3 and 4, meaned over the batch. Half
    precisions are computed in float32.
    """
    log_student = F.log_softmax(_full(student_nchw).flatten(2) / temperature, dim=2)
    log_teacher = F.log_softmax(_full(teacher_nchw).flatten(2) / temperature, dim=2)
    divergence_ncp = log_teacher.exp() * (log_teacher - log_student)
    return temperature**2 * divergence_ncp.sum(2).mean()


class DistillationLoss(nn.Module):
    """The task's loss plus distillation losses, as a step of training minimises it.

    It is `task + logit_weight * pixel_distillation(logits) + channel_weight *
    channel_distillation(features) + feature_weight * matching(stages)`; `matching` is needed for
    the last alone. `channels` are those of the student's and of the teacher's decoder features.
    Pixels that are ignored still distil: the teacher has an opinion on them. `adapter` brings the
    student's features to the teacher's number of channels (1x1, without bias, which the softmax
    over space would cancel); its parameters are to be trained with the student's. It is the
    identity where the numbers agree, and where `channel_weight` is 0. A teacher's features of
    another size are averaged to the student's.

    The loss keeps a frozen copy of `teacher` in evaluation mode, so the one given stays as it is;
    the copy is no submodule: it is neither trained, nor saved, nor switched to training mode.
    """

    def __init__(
        self,
        teacher: nn.Module,
        *,
        task_loss: TaskLoss,
        channels: tuple[int, int],
        settings: DistillationSettings,
        seed: int,
        matching: FeatureMatching | None = None,
    ) -> None:
        super().__init__()
        if (settings.feature_weight > 0) != (matching is not None):
            raise ValueError("a feature_weight above 0 needs matching, and it alone")
        if not hasattr(teacher, "forward_with_features"):
            raise TypeError(f"a teacher must have forward_with_features, got {type(teacher)}")
        self.task_loss = task_loss
        self.settings = settings
        self.adapter: nn.Module = nn.Identity()
        student_channels, teacher_channels = channels
        if settings.channel_weight > 0 and student_channels != teacher_channels:
            self.adapter = _adapter(student_channels, teacher_channels, seed)
        self.matching = matching
        self._recorded: RecordedTeacher | None = None
        self._class_weights_k: Tensor | None = None
        frozen = copy.deepcopy(teacher).eval().requires_grad_(requires_grad=False)
        self._teacher = (frozen.to(memory_format=torch.channels_last),)

    def recall(self, recorded: RecordedTeacher) -> None:
        """From now on take the teacher's answers of samples that are told from what is recorded.

        Raises ValueError where stages are matched, which are not recorded.
        """
        if self.matching is not None:
            raise ValueError("stages are matched, and those of a teacher are not recorded")
        self._recorded = recorded

    def weigh(self, class_weights_k: Tensor | None) -> None:
        """Weigh the pixels of logits by these weights of classes (K,), which are the task's own.

        Without them the frequent classes, of which most pixels are, teach over what the task's
        weights are for.
        """
        self._class_weights_k = class_weights_k

    def of_samples(self, samples_n: Tensor) -> TaskOfStep:
        """The loss of a batch of these samples."""
        return partial(self._of, samples_n=samples_n)

    def forward(self, model: nn.Module, images_nchw: Tensor, target_nhw: Tensor) -> Tensor:
        """The loss of the student `model` on normalised images (N, 3, H, W), a scalar."""
        return self._of(model, images_nchw, target_nhw, samples_n=None)

    def _of(
        self,
        model: nn.Module,
        images_nchw: Tensor,
        target_nhw: Tensor,
        *,
        samples_n: Tensor | None,
    ) -> Tensor:
        settings = self.settings
        student_nkhw, student_nchw, student_stages = self._outputs(model, images_nchw)
        with torch.no_grad():
            teacher = self._answers(images_nchw, samples_n)
        loss = self.task_loss(student_nkhw, target_nhw)
        if settings.logit_weight > 0:
            pixel = pixel_distillation(
                student_nkhw, teacher.logits_nkhw, settings.temperature, self._class_weights_k
            )
            loss = loss + settings.logit_weight * pixel
        if settings.channel_weight > 0:
            assert teacher.features_nchw is not None
            adapted_nchw = self.adapter(student_nchw)
            features_nchw = _resized(teacher.features_nchw, adapted_nchw)
            channel = channel_distillation(
                adapted_nchw, features_nchw, settings.channel_temperature
            )
            loss = loss + settings.channel_weight * channel
        if self.matching is not None:
            loss = loss + settings.feature_weight * self.matching(student_stages, teacher.stages)
        return loss

    def _answers(self, images_nchw: Tensor, samples_n: Tensor | None) -> _Answers:
        """What the teacher says of images, or said of these samples."""
        if self._recorded is not None and samples_n is not None:
            return _Answers(*self._recorded.answers(samples_n, images_nchw))
        return _Answers(*self._outputs(self._teacher_on(images_nchw.device), images_nchw))

    def _outputs(
        self, model: nn.Module, images_nchw: Tensor
    ) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        if self.matching is None:
            return *_with_features(model, images_nchw), ()
        return cast("FeatureNet", model).forward_with_stages(images_nchw)

    def _teacher_on(self, device: torch.device) -> nn.Module:
        teacher = self._teacher[0]
        if next(teacher.parameters()).device != device:
            teacher.to(device)
        return teacher


def feature_channels(model: nn.Module) -> int:
    """The channels of a network's decoder features, found with one small image of zeros.

    The network is given back in its modes; no running statistics change.
    """
    modes = {module: module.training for module in model.modules()}
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            _, features_nchw = _with_features(model.eval(), torch.zeros(1, 3, 64, 64).to(device))
    finally:
        for module, mode in modes.items():
            module.training = mode
    return features_nchw.shape[1]


def _adapter(student_channels: int, teacher_channels: int, seed: int) -> nn.Conv2d:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return nn.Conv2d(student_channels, teacher_channels, kernel_size=1, bias=False)


def _with_features(model: nn.Module, images_nchw: Tensor) -> tuple[Tensor, Tensor]:
    return cast("FeatureNet", model).forward_with_features(images_nchw)


def _resized(features_nchw: Tensor, like_nchw: Tensor) -> Tensor:
    size = like_nchw.shape[-2:]
    if features_nchw.shape[-2:] == size:
        return features_nchw
    return F.interpolate(features_nchw, size=size, mode="area")


def _full(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
