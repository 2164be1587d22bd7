"""`trials.parquet` and `candidates.parquet`: all that the report's tables and pictures show.

One row a trial or candidate, in four groups of columns, always in this order:

1. the record's own fields;
2. each sampled parameter under its name, sorted (under `param.<name>` where a field or a metric
   has that name);
3. each measured metric: `STANDARD_METRICS` whether measured or not, then the others, sorted. A
   value that has no split, or that was measured on val, where all decisions are made, is in the
   column `<metric>`; one from another split in `<metric>.<split>`. `<column>.spread` holds the
   spread of a column where one was measured;
4. `measurements`: the row's measurements as JSON, with device, runtime, threads and batch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from automl.errors import StudyError
from automl.records import (
    Candidate,
    Measurement,
    Scalar,
    TrialConfig,
    TrialResult,
    TrialStatus,
    canonical_json,
    from_json,
    to_json,
)
from automl.store.atomic import staged_file
from automl.store.layout import StudyFolder

#: Metrics that have a column in every table, in this order.
STANDARD_METRICS = (
    "miou",
    "dice",
    "pixel_accuracy",
    "latency_ms",
    "params_m",
    "macs_g",
    "size_mb",
)

Row = dict[str, Any]

_TRIAL_FIELDS: Mapping[str, pa.DataType] = {
    "trial_id": pa.string(),
    "number": pa.int64(),
    "seed": pa.int64(),
    "status": pa.string(),
    "epochs": pa.int64(),
    "seconds": pa.float64(),
    "reason": pa.string(),
    "checkpoint": pa.string(),
}
_CANDIDATE_FIELDS: Mapping[str, pa.DataType] = {
    "candidate_id": pa.string(),
    "trial_id": pa.string(),
    "kind": pa.string(),
    "precision": pa.string(),
    "teacher": pa.string(),
    "recipe": pa.string(),
    "artifact": pa.string(),
    "on_front": pa.bool_(),
    "is_knee": pa.bool_(),
    "is_best": pa.bool_(),
    "is_smallest": pa.bool_(),
    "is_default": pa.bool_(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Which candidates the ranking singled out, by `candidate_id`."""

    front: frozenset[str] = frozenset()
    knee: str | None = None
    best: str | None = None
    smallest: str | None = None
    default: str | None = None


@dataclass(frozen=True, slots=True)
class _Record:
    """One row before the columns of the whole table are known."""

    fields: Row
    params: Mapping[str, Scalar]
    measurements: tuple[Measurement, ...]


def write_trials(folder: StudyFolder, results: Sequence[TrialResult]) -> None:
    """Write `trials.parquet` whole or not at all, rows in the order given."""
    records = [_trial_record(result) for result in results]
    _write(folder.trials_table, _TRIAL_FIELDS, records)


def write_candidates(
    folder: StudyFolder, candidates: Sequence[Candidate], standing: Standing
) -> None:
    """Write `candidates.parquet` whole or not at all, rows in the order given."""
    records = [_candidate_record(candidate, standing) for candidate in candidates]
    _write(folder.candidates_table, _CANDIDATE_FIELDS, records)


def read_trials(folder: StudyFolder) -> dict[str, TrialResult]:
    """The trials of `trials.parquet` by their `trial_id`; none without the file.

    A parameter whose values had several types may come back as another type. The id of such a
    result's configuration, a hash, differs from the one that it is listed by. Raises StudyError on
    an unreadable file.
    """
    path = folder.trials_table
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        names = [str(name) for name in table.schema.names]
        params = names[len(_TRIAL_FIELDS) : names.index(STANDARD_METRICS[0])]
        return {row["trial_id"]: _trial_of(row, params) for row in table.to_pylist()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise StudyError(f"{path}: not a readable table of trials: {error}") from error


def _trial_of(row: Row, params: Sequence[str]) -> TrialResult:
    known = {name.removeprefix("param."): row[name] for name in params if row[name] is not None}
    return TrialResult(
        config=TrialConfig(number=row["number"], seed=row["seed"], params=known),
        status=TrialStatus(row["status"]),
        epochs=row["epochs"],
        measurements=tuple(
            from_json(Measurement, each) for each in json.loads(row["measurements"])
        ),
        checkpoint=row["checkpoint"],
        reason=row["reason"],
        seconds=row["seconds"],
    )


def metric_column(measurement: Measurement) -> str:
    """The column that holds a measurement: `miou` (no split, or val), `miou.test`."""
    if measurement.split in (None, "val"):
        return measurement.metric
    return f"{measurement.metric}.{measurement.split}"


def _trial_record(result: TrialResult) -> _Record:
    fields = {
        "trial_id": result.config.trial_id,
        "number": result.config.number,
        "seed": result.config.seed,
        "status": result.status.value,
        "epochs": result.epochs,
        "seconds": result.seconds,
        "reason": result.reason,
        "checkpoint": result.checkpoint,
    }
    return _Record(fields, result.config.params, result.measurements)


def _candidate_record(candidate: Candidate, standing: Standing) -> _Record:
    name, lineage = candidate.candidate_id, candidate.lineage
    fields = {
        "candidate_id": name,
        "trial_id": lineage.trial_id,
        "kind": lineage.kind,
        "precision": lineage.precision,
        "teacher": lineage.teacher,
        "recipe": canonical_json(dict(lineage.recipe)),
        "artifact": candidate.artifact,
        "on_front": name in standing.front,
        "is_knee": name == standing.knee,
        "is_best": name == standing.best,
        "is_smallest": name == standing.smallest,
        "is_default": name == standing.default,
    }
    return _Record(fields, candidate.params, candidate.measurements)


def _write(path: Path, fields: Mapping[str, pa.DataType], records: Sequence[_Record]) -> None:
    metrics = _metric_columns(records)
    params = _param_types(records)
    own = {*fields, "measurements"}
    if not own.isdisjoint(metrics):
        raise ValueError(f"metrics may not be named {sorted(own.intersection(metrics))}")
    taken = own.union(metrics)
    names = {name: f"param.{name}" if name in taken else name for name in params}
    schema = pa.schema(
        [
            *fields.items(),
            *((names[name], kind) for name, kind in params.items()),
            *((column, pa.float64()) for column in metrics),
            ("measurements", pa.string()),
        ],
        metadata={"automl.table": "1"},
    )
    rows = [
        {
            **record.fields,
            **{names[key]: _cell(value, params[key]) for key, value in record.params.items()},
            **_values(record.measurements),
            "measurements": canonical_json([to_json(each) for each in record.measurements]),
        }
        for record in records
    ]
    table = pa.Table.from_pylist(rows, schema=schema)
    with staged_file(path) as staged:
        pq.write_table(table, staged)


def _values(measurements: Iterable[Measurement]) -> dict[str, float]:
    """The cells of one row; the first measurement of a column counts, as in `value_of`."""
    cells: dict[str, float] = {}
    for measurement in measurements:
        column = metric_column(measurement)
        if column in cells:
            continue
        cells[column] = measurement.value
        if measurement.spread is not None:
            cells[f"{column}.spread"] = measurement.spread
    return cells


def _metric_columns(records: Iterable[_Record]) -> list[str]:
    found = {column for record in records for column in _values(record.measurements)}
    return [*STANDARD_METRICS, *sorted(found.difference(STANDARD_METRICS))]


def _param_types(records: Iterable[_Record]) -> dict[str, pa.DataType]:
    kinds: dict[str, set[type]] = {}
    for record in records:
        for name, value in record.params.items():
            kinds.setdefault(name, set()).add(type(value))
    return {name: _column_type(kinds[name]) for name in sorted(kinds)}


def _column_type(kinds: set[type]) -> pa.DataType:
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    if kinds <= {int, float}:
        return pa.float64()
    return pa.string()


def _cell(value: Scalar, kind: pa.DataType) -> Scalar:
    """A value as its column holds it; text columns hold other scalars as in JSON (`true`)."""
    if kind == pa.string() and not isinstance(value, str):
        return json.dumps(value)
    return value
