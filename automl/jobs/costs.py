"""What a trial's network costs, measured on its export before any training.

Parameters, multiply-adds, size and latency do not depend on the weights, so they are kept by
architecture: the same network with other training parameters is never measured twice.

Latency is timed in turn with the reference, the untrained default network, and given as its ratio
to it times the reference's own latency, which is measured once when nothing else runs: a machine
that trains other trials meanwhile then shifts the result little.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from automl.bundle.network import export_network
from automl.bundle.runtime import open_session
from automl.bundle.wrap import wrap_network
from automl.jobs.context import JobContext
from automl.jobs.network import build_network
from automl.measurement.cost import model_cost
from automl.measurement.latency import LatencyStats, time_interleaved
from automl.models.build import normalisation_for
from automl.records import (
    DatasetInfo,
    Measurement,
    Normalisation,
    TrialConfig,
    from_json,
    short_hash,
    to_json,
)
from automl.space.experiment import TargetSettings
from automl.space.parameters import TrialParameters, parameters_from
from automl.store.atomic import staged_folder, write_json

_WARMUP = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRecord:
    """The costs of one architecture, as kept on disk."""

    measurements: tuple[Measurement, ...]


def measure_costs(config: TrialConfig, context: JobContext) -> tuple[Measurement, ...]:
    """Parameters, multiply-adds, size and latency of a trial's network, from the cache if there."""
    params = parameters_from(config.params)
    file = context.folder.costs / f"{_architecture(params, context)}.json"
    if file.exists():
        return from_json(CostRecord, json.loads(file.read_text(encoding="utf-8"))).measurements
    info = context.dataset().info
    model = build_network(params, info, seed=config.seed)
    with tempfile.TemporaryDirectory() as scratch:
        artifact = Path(scratch) / "model.onnx"
        export_wrapped(model, artifact, info, _normalisation(params, info))
        latency = _latency_ms(artifact, context)
        measurements = (
            *size_measurements(model, artifact, info),
            latency_measurement(latency, context.experiment.target),
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, to_json(CostRecord(measurements=measurements)))
    return measurements


def prepare_reference(context: JobContext) -> None:
    """Export the untrained default network and time it; once a study, while nothing else runs."""
    folder = context.folder.reference
    if folder.exists():
        return
    params = parameters_from(context.experiment.space.default())
    info = context.dataset().info
    model = build_network(params, info, seed=context.experiment.search.seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with staged_folder(folder) as staged:
        artifact = staged / "model.onnx"
        export_wrapped(model, artifact, info, _normalisation(params, info))
        runs = {"reference": timed_run(artifact, info, context.experiment.target)}
        stats = time_interleaved(runs, rounds=_rounds(context), warmup=_WARMUP, seed=0)
        latency_ms = ranking_ms(stats["reference"], context.experiment.target)
        write_json(staged / "latency.json", {"latency_ms": latency_ms})


def export_wrapped(
    model: nn.Module, artifact: Path, info: DatasetInfo, normalisation: Normalisation
) -> None:
    """Export a network with its pre- and post-processing to `artifact`; `core.onnx` beside it."""
    export_network(model, size=info.size, path=artifact.with_name("core.onnx"))
    wrap_core(artifact, info, normalisation)


def wrap_core(artifact: Path, info: DatasetInfo, normalisation: Normalisation) -> None:
    """Wrap the bare network `core.onnx`, which lies beside `artifact`, into `artifact`."""
    wrap_network(
        artifact.with_name("core.onnx"),
        artifact,
        normalisation=normalisation,
        size=info.size,
        num_classes=len(info.classes),
    )


def size_measurements(
    model: nn.Module, artifact: Path, info: DatasetInfo
) -> tuple[Measurement, Measurement, Measurement]:
    """Parameters and multiply-adds of a network, and the size of its export."""
    params_m, macs_g = model_cost(model, info.size)
    return (
        Measurement(metric="params_m", value=params_m),
        Measurement(metric="macs_g", value=macs_g),
        Measurement(metric="size_mb", value=artifact.stat().st_size / 1e6),
    )


def timed_run(artifact: Path, info: DatasetInfo, target: TargetSettings) -> Callable[[], object]:
    """One call of an exported file on a blank image at the network's own size."""
    session = open_session(artifact, threads=target.threads)
    image = np.zeros((*info.size, 3), dtype=np.uint8)
    return lambda: session.run(image)


def ranking_ms(stats: LatencyStats, target: TargetSettings) -> float:
    """The latency that decides: CPU time, which neighbours disturb least, where it can be used.

    CPU time adds up over threads, so with more than one thread it is the wall time.
    """
    return stats.cpu_p50_ms if target.threads == 1 else stats.p50_ms


def latency_measurement(
    latency_ms: float, target: TargetSettings, *, spread: float | None = None
) -> Measurement:
    """The latency with all that it takes to compare it."""
    return Measurement(
        metric="latency_ms",
        value=latency_ms,
        spread=spread,
        device=target.device,
        runtime=target.runtime,
        threads=target.threads,
        batch=target.batch,
    )


def _latency_ms(artifact: Path, context: JobContext) -> float:
    info, target = context.dataset().info, context.experiment.target
    reference = context.folder.reference
    runs = {
        "reference": timed_run(reference / "model.onnx", info, target),
        "candidate": timed_run(artifact, info, target),
    }
    stats = time_interleaved(runs, rounds=_rounds(context), warmup=_WARMUP, seed=0)
    ratio = ranking_ms(stats["candidate"], target) / ranking_ms(stats["reference"], target)
    quiet_ms = float(
        json.loads((reference / "latency.json").read_text(encoding="utf-8"))["latency_ms"]
    )
    return ratio * quiet_ms


def _normalisation(params: TrialParameters, info: DatasetInfo) -> Normalisation:
    return normalisation_for(params.model_spec(), info.normalisation)


def _rounds(context: JobContext) -> int:
    return context.experiment.target.rounds


def _architecture(params: TrialParameters, context: JobContext) -> str:
    """What determines the costs: the network, its input and output, and the target."""
    info = context.dataset().info
    return short_hash(
        {
            "encoder": params.encoder,
            "decoder": params.decoder,
            "decoder_width": params.decoder_width,
            "pruning_ratio": params.pruning_ratio,
            "size": list(info.size),
            "num_classes": len(info.classes),
            "target": context.experiment.target.model_dump(mode="json"),
        },
        length=16,
    )
