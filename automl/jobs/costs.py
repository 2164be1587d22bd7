"""What a trial's network costs, measured on its export before any training.

Parameters, multiply-adds, size and latency do not depend on the weights, so they are kept by
architecture: the same network with other training parameters is never measured twice.

Latency is timed in turn with the reference, the untrained default network, and given as its ratio
to it times the reference's own latency, which is measured once when nothing else runs: a machine
that trains other trials meanwhile then shifts the result little. Where it is timed is the
context's stopwatch's to say; a study stays with the processor that its reference was timed on.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from automl.bundle.network import export_network
from automl.bundle.wrap import wrap_network
from automl.errors import UsageError
from automl.jobs.beginning import beginning_of
from automl.jobs.context import JobContext
from automl.jobs.network import build_network
from automl.jobs.stopwatch import Timing
from automl.measurement.cost import model_cost
from automl.measurement.latency import LatencyStats
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

_LATENCY = "latency.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRecord:
    """The costs of one architecture, as kept on disk."""

    measurements: tuple[Measurement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceLatency:
    """The reference's own latency, and the processor of it; None where none was recorded."""

    latency_ms: float
    cpu: str | None = None


def measure_costs(config: TrialConfig, context: JobContext) -> tuple[Measurement, ...]:
    """Parameters, multiply-adds, size and latency of a trial's network, from the cache if there."""
    params = parameters_from(config.params)
    file = context.folder.costs / f"{_architecture(params, context)}.json"
    context.bring(file)
    if file.exists():
        return from_json(CostRecord, json.loads(file.read_text(encoding="utf-8"))).measurements
    context.bring(context.folder.reference, context.folder.beginning)
    info, beginning = context.dataset().info, beginning_of(context.folder)
    model = beginning.network(params, info, seed=config.seed)
    with tempfile.TemporaryDirectory() as scratch:
        artifact = Path(scratch) / "model.onnx"
        export_wrapped(model, artifact, info, beginning.normalisation(params, info))
        latency = _latency_ms(artifact, context)
        measurements = (
            *size_measurements(model, artifact, info),
            latency_measurement(latency, context.experiment.target, cpu=context.stopwatch.cpu()),
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, to_json(CostRecord(measurements=measurements)))
    context.keep(file)
    return measurements


def prepare_reference(context: JobContext) -> None:
    """Export the untrained default network and time it; once a study, while nothing else runs.

    Raises:
        UsageError: it was timed on another processor than this run would time on.
    """
    folder = context.folder.reference
    context.bring(folder)
    if folder.exists():
        _check_processor(context)
        return
    params = parameters_from(context.experiment.space.default())
    info = context.dataset().info
    model = build_network(params, info, seed=context.experiment.search.seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with staged_folder(folder) as staged:
        artifact = staged / "model.onnx"
        export_wrapped(model, artifact, info, _normalisation(params, info))
        target = context.experiment.target
        stats = context.stopwatch.time({"reference": artifact}, timing_of(info, target))
        kept = ReferenceLatency(
            latency_ms=ranking_ms(stats["reference"], target), cpu=context.stopwatch.cpu()
        )
        write_json(staged / _LATENCY, to_json(kept))
    context.keep(folder)


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
        resize=info.resize,
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


def timing_of(info: DatasetInfo, target: TargetSettings) -> Timing:
    """How a study times: what it declares, on images of its networks' size."""
    return Timing(
        size=info.size, threads=target.threads, rounds=target.rounds, runtime=target.runtime
    )


def ranking_ms(stats: LatencyStats, target: TargetSettings) -> float:
    """The latency that decides: CPU time, which neighbours disturb least, where it can be used.

    CPU time adds up over threads, so with more than one thread it is the wall time.
    """
    return stats.cpu_p50_ms if target.threads == 1 else stats.p50_ms


def latency_measurement(
    latency_ms: float, target: TargetSettings, *, cpu: str, spread: float | None = None
) -> Measurement:
    """The latency with all that it takes to compare it."""
    return Measurement(
        metric="latency_ms",
        value=latency_ms,
        spread=spread,
        device=f"{target.device}: {cpu}",
        runtime=target.runtime,
        threads=target.threads,
        batch=target.batch,
    )


def _latency_ms(artifact: Path, context: JobContext) -> float:
    target = context.experiment.target
    pair = {"reference": context.folder.reference / "model.onnx", "candidate": artifact}
    stats = context.stopwatch.time(pair, timing_of(context.dataset().info, target))
    ratio = ranking_ms(stats["candidate"], target) / ranking_ms(stats["reference"], target)
    return ratio * _reference_latency(context).latency_ms


def _reference_latency(context: JobContext) -> ReferenceLatency:
    text = (context.folder.reference / _LATENCY).read_text(encoding="utf-8")
    return from_json(ReferenceLatency, json.loads(text))


def _check_processor(context: JobContext) -> None:
    """Refuse to go on where times would be those of another machine than the study's so far."""
    before, now = _reference_latency(context).cpu, context.stopwatch.cpu()
    if before not in (None, now):
        raise UsageError(
            f"{context.study_root}: its latencies were measured on {before}; given: {now}, whose "
            "times do not compare with them. Continue on a machine, with a latency_probe node or "
            "with the agent of --target that has the first; else choose another --out, or start "
            "anew with --overwrite"
        )


def _normalisation(params: TrialParameters, info: DatasetInfo) -> Normalisation:
    return normalisation_for(params.model_spec(), info.normalisation)


def _architecture(params: TrialParameters, context: JobContext) -> str:
    """What determines the costs: the network, its input and output, the target, the processor."""
    info = context.dataset().info
    # What is stretched keeps the keys that it always had; a letterbox's graph takes another time.
    resize = {"resize": info.resize.mode} if info.resize.is_letterbox else {}
    return short_hash(
        {
            **resize,
            "encoder": params.encoder,
            "decoder": params.decoder,
            "decoder_width": params.decoder_width,
            "pruning_ratio": params.pruning_ratio,
            "size": list(info.size),
            "num_classes": len(info.classes),
            "target": context.experiment.target.model_dump(mode="json"),
            "cpu": context.stopwatch.cpu(),
        },
        length=16,
    )
