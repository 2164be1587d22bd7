"""A benchmark's results: lines for people, Parquet for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from automl.benchmark.job import Outcome
from automl.benchmark.plan import Report, Row
from automl.store.atomic import staged_file

_HEAD = (
    ("", "bundle"),
    ("", "runtime"),
    ("", "threads"),
    ("", "batch"),
    ("p50", "ms"),
    ("p95", "ms"),
    ("p99", "ms"),
    ("IQR", "ms"),
    ("CPU p50", "ms"),
    ("images", "/s"),
    ("CPU", "x"),
    ("wall", "x"),
)
_TEXT_COLUMNS = 2


def report_lines(report: Report) -> list[str]:
    """The table, what its columns mean, and the notes."""
    first = report.rows[0]
    cells = [[top for top, _ in _HEAD], [bottom for _, bottom in _HEAD]]
    cells += [_cells(row) for row in report.rows]
    lines = _aligned(cells)
    lines.insert(len(_HEAD[0]), "─" * max(map(len, lines)))
    return [
        *lines,
        "",
        f"x: times {first.bundle} in {first.runtime} at the same threads and batch, the number to",
        "   compare between runs; below 1 is faster, within 10 % is a tie. CPU time repeats best;",
        "   it adds up over threads, so what more of them gain shows in wall time alone.",
        "p50, p95, p99, IQR (first to third quartile): wall time of a call, for the whole batch.",
        *(f"{threads} thread(s): {_kept_on(outcome)}" for threads, outcome in report.outcomes),
        *(f"note: {note}" for note in report.notes),
    ]


def write_parquet(report: Report, path: Path, *, target: str) -> None:
    """One row a combination, with the device it was measured on; whole or not at all."""
    rows = [dict(_record(report, row, target)) for row in report.rows]
    with staged_file(path) as staged:
        pq.write_table(pa.Table.from_pylist(rows), staged)


def _cells(row: Row) -> list[str]:
    stats = row.timing.stats
    times = (stats.p50_ms, stats.p95_ms, stats.p99_ms, stats.spread_ms, stats.cpu_p50_ms)
    return [
        row.bundle,
        row.runtime,
        str(row.threads),
        str(row.batch),
        *(f"{time:.2f}" for time in times),
        f"{row.images_per_s:.1f}",
        f"{row.cpu_ratio:.2f}",
        f"{row.wall_ratio:.2f}",
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index < _TEXT_COLUMNS else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _kept_on(outcome: Outcome) -> str:
    if not outcome.cores:
        return "not kept on certain cores: this system has no way to"
    return f"kept on core(s) {', '.join(map(str, outcome.cores))}"


def _record(report: Report, row: Row, target: str) -> Iterator[tuple[str, Any]]:
    outcome = next(each for threads, each in report.outcomes if threads == row.threads)
    device, first = outcome.device, report.rows[0]
    yield "bundle", row.bundle
    yield "path", row.path
    yield "artifact_sha256", row.artifact
    yield "runtime", row.runtime
    yield "runtime_version", device.runtimes[row.runtime]
    yield "threads", row.threads
    yield "batch", row.batch
    yield "rounds", report.rounds
    yield from asdict(row.timing.stats).items()
    yield "images_per_s", row.images_per_s
    yield "cpu_ratio", row.cpu_ratio
    yield "wall_ratio", row.wall_ratio
    yield "ratio_to", f"{first.bundle} in {first.runtime}"
    yield "agreement", row.timing.agreement
    yield "pinned_cores", list(outcome.cores)
    yield "waited_share", outcome.contention.share(row.threads)
    yield "load", outcome.contention.load
    yield "target", target
    yield "cpu", device.cpu
    yield "cores", device.cores
    yield "machine", device.machine
    yield "system", device.system
    yield "python", device.python
    yield "automl", device.automl
