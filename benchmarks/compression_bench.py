"""Trains, exports and measures the networks of `compression.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from automl.benchmark.job import Entry, Job, digest
from automl.benchmark.worker import measure_apart
from automl.bundle.batched import batched
from automl.bundle.runtimes import READS_BUNDLES
from automl.compression.distill import DistillationLoss, DistillationSettings
from automl.compression.quantize import quantize_int8
from automl.data.dataset import Dataset
from automl.jobs.costs import export_wrapped, wrap_core
from automl.jobs.int8_ladder import calibration_images
from automl.jobs.int8_tuning import NeverStop
from automl.jobs.narrowing import Narrowing, narrow, narrow_and_tune
from automl.jobs.network import build_network
from automl.jobs.scoring import score_file
from automl.jobs.settings import fit_settings, supervised_loss
from automl.jobs.students import teaching_loss
from automl.measurement.cost import model_cost
from automl.models.build import SegmentationNet
from automl.space.experiment import Experiment
from automl.space.parameters import TrialParameters
from automl.space.pruning import PruningSettings
from automl.store.atomic import staged_folder
from automl.training.loop import fit
from automl.training.steps import StepLoss

RUNTIMES = ("onnxruntime", "openvino")
THREADS = (1, 2)


def parameters(text: str) -> TrialParameters:
    """`encoder:decoder:width` with the training that all share."""
    encoder, decoder, width = text.split(":")
    base = TrialParameters(learning_rate=2e-3, batch_size=8, class_weights="balanced")
    return replace(base, encoder=encoder, decoder=decoder, decoder_width=int(width))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One exported file; `ms` by (runtime, threads)."""

    params_m: float
    macs_g: float
    size_mb: float
    miou: Mapping[str, float]
    ms: dict[tuple[str, int], float]


class Bench:
    """Trains, exports and measures; what is in `out` already is not made again."""

    def __init__(self, dataset: Dataset, out: Path, device: str) -> None:
        self.dataset, self.out = dataset, out
        plain = {"space": {"alpha": 0.5}, "train": {"device": device}}
        self.train = Experiment.from_json(plain).train
        self.seconds: dict[str, float] = {}
        self.miou: dict[str, float] = {}

    def fit(
        self,
        name: str,
        model: SegmentationNet,
        params: TrialParameters,
        loss: StepLoss,
        *,
        epochs: int,
        seed: int,
    ) -> None:
        """Train the model in place; its seconds of steps and its mIoU are kept under the name."""
        settings = fit_settings(
            params,
            self.train,
            normalisation=self.dataset.info.normalisation,
            seed=seed,
            epochs=epochs,
        )
        done = fit(
            model,
            self.dataset,
            settings,
            step_loss=loss,
            reporter=NeverStop(),
            checkpoint_folder=self.out / "trainings" / name / "checkpoint",
        )
        self.seconds[name], self.miou[name] = done.step_seconds, done.metrics["miou"]
        print(f"# {name}: {epochs} epochs, val mIoU {self.miou[name]:.4f}", flush=True)

    def alone(
        self, name: str, model: SegmentationNet, params: TrialParameters, epochs: int, seed: int
    ) -> SegmentationNet:
        """A network trained by the labels alone."""
        self.fit(
            name,
            model,
            params,
            supervised_loss(params, self.dataset.info),
            epochs=epochs,
            seed=seed,
        )
        return model

    def taught(
        self,
        student: SegmentationNet,
        teacher: SegmentationNet,
        params: TrialParameters,
        seed: int,
        settings: DistillationSettings | None = None,
    ) -> DistillationLoss:
        """What a student minimises."""
        return teaching_loss(
            student,
            teacher,
            settings=DistillationSettings() if settings is None else settings,
            params=params,
            dataset=self.dataset,
            seed=seed,
        )

    def pruned(
        self,
        name: str,
        teacher: SegmentationNet,
        params: TrialParameters,
        ratio: float,
        epochs: int,
    ) -> SegmentationNet:
        """The teacher at a ratio, tuned with the teacher as teacher."""

        def tune(narrowed: SegmentationNet, share: int, _checkpoints: Path) -> None:
            loss = self.taught(narrowed, teacher, params, 0)
            self.fit(name, narrowed, params, loss, epochs=share, seed=0)

        folder = self.out / "trainings" / name
        narrowing = self._narrowing(params, ratio)
        return narrow_and_tune(teacher, narrowing, tune, epochs=epochs, folder=folder)

    def scratch(self, name: str, params: TrialParameters, ratio: float, epochs: int) -> None:
        """The same shape, untrained, trained for as many epochs."""
        model = narrow(self.network(params, 1), self._narrowing(params, ratio))
        self.alone(name, model, params, epochs, 0)

    def network(self, params: TrialParameters, seed: int) -> SegmentationNet:
        """An untrained network."""
        return build_network(params, self.dataset.info, seed=seed)

    def _narrowing(self, params: TrialParameters, ratio: float) -> Narrowing:
        return Narrowing(
            ratio=ratio,
            how=PruningSettings(),
            dataset=self.dataset,
            params=params,
            normalisation=self.dataset.info.normalisation,
        )

    def files(self, name: str, model: SegmentationNet) -> dict[str, tuple[Path, SegmentationNet]]:
        """The FP32 and the INT8 file of a network, by name."""
        info = self.dataset.info
        whole, small = self.out / "files" / name, self.out / "files" / f"{name}-int8"
        whole.parent.mkdir(parents=True, exist_ok=True)
        if not whole.exists():
            with staged_folder(whole) as staged:
                export_wrapped(model, staged / "model.onnx", info, info.normalisation)
        if not small.exists():
            with staged_folder(small) as staged:
                images = calibration_images(self.dataset, info.normalisation, 64)
                quantize_int8(whole / "core.onnx", staged / "core.onnx", images)
                wrap_core(staged / "model.onnx", info, info.normalisation)
        return {name: (whole / "model.onnx", model), small.name: (small / "model.onnx", model)}

    def rows(
        self, files: Mapping[str, tuple[Path, SegmentationNet]], rounds: int
    ) -> dict[str, Row]:
        """All that is known of each file; times of all in interleaved rounds."""
        found = {}
        for name, (path, model) in files.items():
            params_m, macs_g = model_cost(model, self.dataset.info.size)
            miou = {s: self._miou(path, s) for s in ("val", "test")}
            size_mb = path.stat().st_size / 1e6
            found[name] = Row(params_m=params_m, macs_g=macs_g, size_mb=size_mb, miou=miou, ms={})
        paths = {name: path for name, (path, _) in files.items()}
        for runtime in RUNTIMES:
            for threads in THREADS:
                for name, ms in self._times(paths, runtime, threads, rounds).items():
                    found[name].ms[runtime, threads] = ms
        return found

    def _miou(self, path: Path, split: str) -> float:
        scored = score_file(path, self.dataset, split, threads=1, runtime="onnxruntime")
        return next(m.value for m in scored if m.metric == "miou")

    def _times(
        self, paths: Mapping[str, Path], runtime: str, threads: int, rounds: int
    ) -> dict[str, float]:
        bare = runtime not in READS_BUNDLES
        size = self.dataset.info.size
        contents = {
            name: batched(path.read_bytes(), size=size, batch=1) if bare else path.read_bytes()
            for name, path in paths.items()
        }
        entries = tuple(
            Entry(
                label=name,
                artifact=digest(content),
                runtime=runtime,
                shape=(1, *size, 3) if bare else (*size, 3),
            )
            for name, content in contents.items()
        )
        job = Job(entries=entries, threads=threads, rounds=rounds)
        found = measure_apart(job, {digest(c): c for c in contents.values()}, seconds=float("inf"))
        which = "cpu_p50_ms" if threads == 1 else "p50_ms"
        return {
            name: getattr(timing.stats, which)
            for name, timing in zip(contents, found.timings, strict=True)
        }
