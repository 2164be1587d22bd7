"""What a study's teachers said of fixed views, recorded once for all students of a teacher."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from automl.compression.recorded import RecordedTeacher, record_answers
from automl.data.batching import EpochPlan
from automl.data.dataset import Dataset
from automl.data.mixing.layers import MIXES
from automl.records import short_hash, to_json
from automl.space.compression import CompressSettings
from automl.space.parameters import TrialParameters
from automl.store.atomic import staged_folder
from automl.store.layout import StudyFolder
from automl.store.turns import in_turn
from automl.training.epochs import batch_settings
from automl.training.evaluation import normalise
from automl.training.ranks import compute_device
from automl.training.settings import FitSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A teacher of images as `settings` augment and normalise them; `place` holds one a key."""

    place: Path
    teacher: nn.Module
    dataset: Dataset
    settings: FitSettings
    compress: CompressSettings

    @property
    def key(self) -> str:
        """A key of all that decides the answers, and of which there are."""
        return short_hash(
            {
                "weights": _digest(self.teacher),
                "temperature": self.compress.temperature,  # that of a mean of several teachers
                "dataset": self.dataset.info.fingerprint,
                "augmentation": to_json(self.settings)["augmentation"],
                "normalisation": to_json(self.settings.normalisation),
                "seed": self.settings.seed,
                "views": self.settings.views,
                "features": self.compress.channel_weight > 0,
            },
            length=16,
        )


def views_for(compress: CompressSettings, params: TrialParameters) -> int:
    """The views that answers are recorded of; 0 where the teacher computes in every step."""
    if compress.teacher_cache is None or mixes_of(params):
        return 0
    return 1 if params.augmentation == "none" else compress.teacher_cache.views


def mixes_of(params: TrialParameters) -> tuple[str, ...]:
    """The mixes of images that a trial trains with: what they make is never met again."""
    return tuple(mix for mix in MIXES if getattr(params, mix) > 0)


def recorded(recording: Recording) -> RecordedTeacher:
    """The answers, recorded now if nobody has; a second process waits for the first."""
    folder = recording.place / recording.key
    with in_turn(recording.place / f"{recording.key}.lock"):
        if not folder.exists():
            with staged_folder(folder) as staged:
                record_answers(
                    staged,
                    recording.teacher,
                    _views(recording),
                    features=recording.compress.channel_weight > 0,
                    device=compute_device(recording.settings.device),
                )
    return RecordedTeacher(folder)


def forget_answers(folder: StudyFolder) -> None:
    """Remove what was recorded, when no student of a study learns any more."""
    shutil.rmtree(folder.teaching, ignore_errors=True)


def _views(recording: Recording) -> Iterator[Tensor]:
    """Normalised images of all rows in the first view, then of all in the second, and so on."""
    settings = recording.settings
    batches = replace(batch_settings(settings), shuffle=False, oversample="none", pinned=False)
    for view in range(settings.views):
        for batch in EpochPlan(recording.dataset.split("train"), batches, view).batches():
            yield normalise(batch.images_nhwc, settings.normalisation)


def _digest(teacher: nn.Module) -> str:
    """SHA-256 over names, shapes and bytes of all weights and buffers."""
    found = hashlib.sha256()
    for name, value in sorted(teacher.state_dict().items()):
        found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()
