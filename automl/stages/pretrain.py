"""Pre-training of an encoder without labels, into a file that the parameter `pretrained` names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from automl.data.dataset import Dataset
from automl.errors import UsageError
from automl.jobs.context import available_cpus, torch_threads
from automl.jobs.settings import loader_workers
from automl.models.bare import bare_encoder
from automl.models.build import normalisation_for
from automl.models.encoders import TimmEncoder
from automl.records import ModelSpec, short_hash
from automl.space.speed import LoaderWorkers
from automl.store.atomic import staged_file
from automl.store.lock import WriterLock
from automl.training.contrastive import ContrastiveLoss
from automl.training.pretraining import HearLoss, PretrainingResult, pretrain
from automl.training.settings import FitSettings

#: As for the weights of a training from scratch; the paper's own is 1e-6, with another optimizer.
_WEIGHT_DECAY = 1e-4
_WARMUP_EPOCHS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingRequest:
    """What to pre-train, how, and the file to write. `batch_size` counts images, of two views.

    `loader_workers` is as declared for trainings; nothing is measured here, so `fastest` is `auto`.
    """

    encoder: str
    out: Path
    epochs: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    temperature: float = 0.5
    seed: int = 0
    device: str = "auto"
    loader_workers: LoaderWorkers = "auto"


def check_request(request: PretrainingRequest) -> None:
    """Raise UsageError for a file that cannot be written, or is there already."""
    if request.out.suffix != ".safetensors":
        raise UsageError(f"--out: given {request.out}; allowed: a file that ends in .safetensors")
    if request.out.exists():
        raise UsageError(
            f"--out: {request.out} is there already; choose another file, or remove it"
        )


def pretrain_encoder(
    request: PretrainingRequest, dataset: Dataset, hear: HearLoss
) -> PretrainingResult:
    """Train, or go on from the checkpoint beside the file, and write the file.

    Raises UsageError as `check_request` does, for an encoder that cannot be built, for fewer than
    two training images, and where another process is at the same work.
    """
    check_request(request)
    images = dataset.info.counts["train"]
    if images < 2:
        raise UsageError(f"{dataset.info.name}: {images} training images; needed: at least 2")
    encoder, channels = bare_encoder(request.encoder, dataset.info.size, seed=request.seed)
    loss = ContrastiveLoss(channels, temperature=request.temperature, seed=request.seed)
    with _working(request) as checkpoints, torch_threads(available_cpus()):
        result = pretrain(
            encoder,
            dataset,
            _settings(request, dataset),
            loss=loss,
            checkpoint_folder=checkpoints,
            hear=hear,
        )
        _write(request, dataset, encoder)
    return result


@contextmanager
def _working(request: PretrainingRequest) -> Iterator[Path]:
    """The folder of the checkpoints, which goes with the end of the work.

    Its name holds what is trained: another encoder or other settings never go on from it.
    """
    trained = {**asdict(request), "out": request.out.name}
    del trained["loader_workers"]
    key = short_hash(trained, length=8)
    folder = request.out.with_name(f"{request.out.stem}-{key}.pretraining")
    folder.mkdir(parents=True, exist_ok=True)
    with WriterLock(folder / "lock"):
        yield folder
        shutil.rmtree(folder)


def _settings(request: PretrainingRequest, dataset: Dataset) -> FitSettings:
    """Images are normalised as for weights from a file, which the encoder's will be."""
    spec = ModelSpec(
        encoder=request.encoder, decoder="", decoder_width=0, pretrained=str(request.out)
    )
    return FitSettings(
        epochs=request.epochs,
        normalisation=normalisation_for(spec, dataset.info.normalisation),
        batch_size=request.batch_size,
        learning_rate=request.learning_rate,
        weight_decay=_WEIGHT_DECAY,
        warmup_epochs=_WARMUP_EPOCHS,
        device=request.device,
        seed=request.seed,
        loader_workers=loader_workers(request.loader_workers, request.device),
    )


def _write(request: PretrainingRequest, dataset: Dataset, encoder: TimmEncoder) -> None:
    tensors: dict[str, torch.Tensor] = {
        name: value.detach().cpu().contiguous()
        for name, value in encoder.model.state_dict().items()
    }
    origin = {
        "encoder": request.encoder,
        "method": "SimCLR",
        "epochs": str(request.epochs),
        "seed": str(request.seed),
        "dataset": dataset.info.fingerprint,
    }
    with staged_file(request.out) as staged:
        save_file(tensors, staged, metadata=origin)
