"""Write a network in other formats; a file stays only if it computes what its source does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from automl.bundle.batched import ANY, Batch
from automl.bundle.files import sha256
from automl.bundle.manifest import package_versions
from automl.errors import TrialError, UsageError
from automl.formats.network import Run, open_onnx
from automl.formats.parity import TOLERANCES, Agreement, agreement, fault
from automl.formats.registry import FORMATS, Format
from automl.formats.sidecar import InputOfFile, OutputOfFile, Sidecar
from automl.measurement.latency import process_clock, time_interleaved
from automl.records import to_json
from automl.stages.format_source import FormatSource
from automl.store.atomic import staged_folder, write_json
from automl.training.evaluation import normalise

RESULTS = "formats.json"
SIDECAR = "model.json"

_WARMUP = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one format.

    `time_ratio` is processor time of one image to ONNX Runtime's, in rounds timed side by side.
    """

    format: str
    status: Literal["written", "refused", "not available"]
    file: str = ""
    batch: Batch | None = None
    size_mb: float = 0.0
    agreements: tuple[Agreement, ...] = ()
    time_ratio: float | None = None
    reason: str = ""


def absences(source: FormatSource, names: tuple[str, ...]) -> dict[str, str]:
    """Why formats cannot be written here of this source, by name."""
    found = {}
    for name in names:
        kind = FORMATS[name]
        reason = kind.absence()
        if reason is None and kind.needs_module and source.network.module is None:
            reason = f"starts from a torch network: {source.network.why_no_module}"
        if reason is not None:
            found[name] = reason
    return found


def check_new(out: Path) -> None:
    """Raise UsageError unless `out` can take the files."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"--out: {out} is there already; allowed: a new or an empty folder")


def convert(
    source: FormatSource,
    names: tuple[str, ...],
    out: Path,
    *,
    rounds: int,
    hear: Callable[[Outcome], None],
) -> tuple[Outcome, ...]:
    """Write each format to `out`/NAME with `model.json` beside it, then `formats.json`.

    Formats that are not available are told of. With `rounds` above 0 each file is timed.
    """
    missing = absences(source, names)
    pixels_nchw = normalise(torch.from_numpy(source.images_nhwc), source.normalisation)
    images_nchw = np.ascontiguousarray(pixels_nchw.numpy())
    outcomes = []
    for name in names:
        if name in missing:
            outcome = Outcome(format=name, status="not available", reason=missing[name])
        else:
            with _one_thread():
                outcome = _converted(source, name, out, images_nchw, rounds)
        hear(outcome)
        outcomes.append(outcome)
    allowed = to_json(TOLERANCES[source.network.precision])
    write_json(
        out / RESULTS,
        {
            "origin": to_json(source.origin),
            "precision": source.network.precision,
            "compared_on": source.images_from,
            "tolerance": allowed,
            "formats": [to_json(outcome) for outcome in outcomes],
        },
    )
    return tuple(outcomes)


def _converted(
    source: FormatSource, name: str, out: Path, images_nchw: NDArray[np.float32], rounds: int
) -> Outcome:
    """The format for as many images as it can be had for: any number, else one."""
    reasons: dict[Batch, str] = {}
    for batch in FORMATS[name].batches:
        try:
            with staged_folder(out / name) as staged:
                outcome = _written(source, name, staged, images_nchw, batch)
        # What libraries raise of a network that they cannot convert shares no narrower base.
        except Exception as error:
            if isinstance(error, (OSError, MemoryError)):
                raise
            reasons[batch] = _first_line(error)
            continue
        return replace(outcome, time_ratio=_time_ratio(source, name, out, images_nchw, rounds))
    told = "; ".join(f"for {batch} image(s): {reason}" for batch, reason in reasons.items())
    return Outcome(format=name, status="refused", reason=told)


def _written(
    source: FormatSource,
    name: str,
    folder: Path,
    images_nchw: NDArray[np.float32],
    batch: Batch,
) -> Outcome:
    """Write and compare one form; raises TrialError where it is not near enough to its source."""
    kind = FORMATS[name]
    path = folder / kind.file
    kind.write(source.network, path, batch)
    agreements = _compared(source, kind, path, images_nchw, batch)
    files = sorted(each for each in folder.iterdir() if each.is_file())
    sidecar = Sidecar(
        format=name,
        files={each.name: sha256(each.read_bytes()) for each in files},
        precision=source.network.precision,
        input=InputOfFile(
            batch=batch,
            size=source.network.size,
            resize=source.resize,
            normalisation=source.normalisation,
        ),
        output=OutputOfFile(),
        classes=source.classes,
        origin=source.origin,
        agreements=agreements,
        versions=package_versions(("automl", "onnx", "onnxruntime", *kind.packages)),
    )
    size_mb = sum(each.stat().st_size for each in files) / 1e6
    write_json(folder / SIDECAR, to_json(sidecar))
    return Outcome(
        format=name,
        status="written",
        file=f"{name}/{kind.file}",
        batch=batch,
        size_mb=size_mb,
        agreements=agreements,
        reason=kind.note,
    )


def _compared(
    source: FormatSource, kind: Format, path: Path, images_nchw: NDArray[np.float32], batch: Batch
) -> tuple[Agreement, ...]:
    run = kind.open(path)
    found = tuple(
        agreement(source.reference, run, images_nchw, batch=count)
        for count in ((1, 2) if batch == ANY else (1,))
    )
    faults = [fault(each, TOLERANCES[source.network.precision]) for each in found]
    told = [each for each in faults if each is not None]
    if told:
        raise TrialError(told[0])
    return found


def _time_ratio(
    source: FormatSource, name: str, out: Path, images_nchw: NDArray[np.float32], rounds: int
) -> float | None:
    """Processor time of one image as a ratio to ONNX Runtime's."""
    if rounds == 0:
        return None
    kind = FORMATS[name]
    image_nchw = images_nchw[:1]

    def call(run: Run) -> Callable[[], object]:
        return lambda: run(image_nchw)

    runs = {
        "onnxruntime": call(open_onnx(source.network.onnx(1))),
        name: call(kind.open(out / name / kind.file)),
    }
    stats = time_interleaved(runs, rounds=rounds, warmup=_WARMUP, seed=0, clock=process_clock)
    return stats[name].cpu_p50_ms / stats["onnxruntime"].cpu_p50_ms


def _first_line(error: Exception) -> str:
    words = str(error).strip()
    return words.splitlines()[0] if words else type(error).__name__


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have torch compute on one thread, as the other runtimes do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
