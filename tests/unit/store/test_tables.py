import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl.errors import StudyError
from automl.records import (
    Candidate,
    Lineage,
    Measurement,
    Normalisation,
    TrialConfig,
    TrialResult,
    TrialStatus,
    from_json,
    to_json,
)
from automl.store.layout import StudyFolder
from automl.store.tables import (
    STANDARD_METRICS,
    Standing,
    read_trials,
    write_candidates,
    write_trials,
)

MIOU = Measurement(metric="miou", value=0.5, split="val")
LATENCY = Measurement(
    metric="latency_ms", value=7.0, spread=0.25, device="cpu", runtime="onnxruntime", threads=1
)


def trial(number=0, params=None, measurements=(), status=TrialStatus.COMPLETED) -> TrialResult:
    config = TrialConfig(number=number, seed=3, params={} if params is None else params)
    return TrialResult(config=config, status=status, epochs=4, measurements=measurements)


def candidate(name="c0", measurements=(), **lineage) -> Candidate:
    return Candidate(
        candidate_id=name,
        artifact=f"candidates/{name}/model.onnx",
        lineage=Lineage(**{"trial_id": "t", "kind": "trial", "precision": "fp32", **lineage}),
        params={"encoder": "a", "decoder_width": 64},
        normalisation=Normalisation(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        measurements=measurements,
    )


def rows_of(file) -> list[dict]:
    # Not `read_table`, which makes columns of folder names such as `lr=3`.
    with pq.ParquetFile(file) as table:
        return table.read().to_pylist()


def written(tmp_path, *results) -> list[dict]:
    folder = StudyFolder(tmp_path)
    write_trials(folder, results)
    return rows_of(folder.trials_table)


def test_a_trial_is_one_row_with_all_that_is_known_of_it(tmp_path):
    result = TrialResult(
        config=TrialConfig(number=2, seed=3, params={"encoder": "a", "learning_rate": 1e-3}),
        status=TrialStatus.STOPPED,
        epochs=4,
        measurements=(MIOU, LATENCY, Measurement(metric="params_m", value=1.5)),
        checkpoint="trials/x/checkpoint",
        reason="rung 4",
        seconds=1.25,
    )
    (row,) = written(tmp_path, result)
    assert json.loads(row.pop("measurements")) == [to_json(each) for each in result.measurements]
    assert row == {
        "trial_id": result.config.trial_id,
        "number": 2,
        "seed": 3,
        "status": "stopped",
        "epochs": 4,
        "seconds": 1.25,
        "reason": "rung 4",
        "checkpoint": "trials/x/checkpoint",
        "encoder": "a",
        "learning_rate": 1e-3,
        "miou": 0.5,
        "dice": None,
        "pixel_accuracy": None,
        "latency_ms": 7.0,
        "params_m": 1.5,
        "macs_g": None,
        "size_mb": None,
        "latency_ms.spread": 0.25,
    }


def test_measurements_come_back_without_loss(tmp_path):
    (row,) = written(tmp_path, trial(measurements=(MIOU, LATENCY)))
    assert tuple(from_json(Measurement, each) for each in json.loads(row["measurements"])) == (
        MIOU,
        LATENCY,
    )


def test_other_splits_have_columns_of_their_own(tmp_path):
    on_test = Measurement(metric="miou", value=0.4, split="test")
    (row,) = written(tmp_path, trial(measurements=(on_test, MIOU)))
    assert (row["miou"], row["miou.test"]) == (0.5, 0.4)


def test_the_first_measurement_of_a_metric_counts_as_in_the_record(tmp_path):
    result = trial(measurements=(MIOU, Measurement(metric="miou", value=0.9, spread=1.0)))
    (row,) = written(tmp_path, result)
    assert row["miou"] == result.value("miou")
    assert "miou.spread" not in row


def test_a_table_without_rows_has_its_columns(tmp_path):
    folder = StudyFolder(tmp_path)
    write_trials(folder, [])
    write_candidates(folder, [], Standing())
    for file in (folder.trials_table, folder.candidates_table):
        assert rows_of(file) == []
        columns = pq.read_schema(file).names
        assert "trial_id" in columns
        assert set(STANDARD_METRICS) < set(columns)


def test_columns_do_not_depend_on_the_order_of_rows_or_parameters(tmp_path):
    first = trial(0, {"b": 1, "a": "x"}, (LATENCY, MIOU))
    second = trial(1, {"c": 2.0, "a": "y"}, (MIOU, Measurement(metric="extra", value=1.0)))
    folder = StudyFolder(tmp_path)
    schemas = []
    for results in ([first, second], [second, first]):
        write_trials(folder, results)
        schemas.append(pq.read_schema(folder.trials_table))
    assert schemas[0].equals(schemas[1])
    names = schemas[0].names
    assert names[names.index("checkpoint") + 1 :] == [
        "a",
        "b",
        "c",
        *STANDARD_METRICS,
        "extra",
        "latency_ms.spread",
        "measurements",
    ]


@pytest.mark.parametrize(
    ("values", "kind", "cells"),
    [
        ([True, False], pa.bool_(), [True, False]),
        ([8, 16], pa.int64(), [8, 16]),
        ([0, 0.5], pa.float64(), [0.0, 0.5]),
        (["a", "b"], pa.string(), ["a", "b"]),
        ([True, "weights.pth"], pa.string(), ["true", "weights.pth"]),
        ([False, 1], pa.string(), ["false", "1"]),
    ],
)
def test_a_parameter_column_has_one_type_that_holds_all_values(tmp_path, values, kind, cells):
    rows = written(tmp_path, *(trial(n, {"p": value}) for n, value in enumerate(values)))
    assert [row["p"] for row in rows] == cells
    assert pq.read_schema(tmp_path / "trials.parquet").field("p").type == kind


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["p", "q", "epochs", "miou"]),
            st.integers(-(2**60), 2**60) | st.text(st.characters(exclude_categories=["Cs"])),
        ),
        max_size=4,
    )
)
def test_every_sampled_value_is_in_its_row(tmp_path_factory, sampled):
    rows = written(
        tmp_path_factory.mktemp("t"), *(trial(n, params) for n, params in enumerate(sampled))
    )
    for row, params in zip(rows, sampled, strict=True):
        for name, value in params.items():
            cell = row[f"param.{name}" if name in ("epochs", "miou") else name]
            assert cell in (value, str(value))
        assert row["epochs"] == 4


def test_a_metric_may_not_take_the_place_of_a_field(tmp_path):
    with pytest.raises(ValueError, match="epochs"):
        written(tmp_path, trial(measurements=(Measurement(metric="epochs", value=1.0),)))
    assert not (tmp_path / "trials.parquet").exists()


def test_a_candidate_is_one_row_with_its_standing(tmp_path):
    folder = StudyFolder(tmp_path)
    student = candidate(
        "c1", (MIOU,), kind="student", precision="int8", teacher="c0", recipe={"b": 1, "a": 0.5}
    )
    standing = Standing(front=frozenset({"c0", "c1"}), knee="c1", best="c1", default="c0")
    write_candidates(folder, [candidate("c0"), student], standing)
    first, second = rows_of(folder.candidates_table)
    assert [first[mark] for mark in ("on_front", "is_knee", "is_best", "is_default")] == [
        True,
        False,
        False,
        True,
    ]
    assert [second[mark] for mark in ("on_front", "is_knee", "is_best", "is_default")] == [
        True,
        True,
        True,
        False,
    ]
    shown = ("candidate_id", "trial_id", "kind", "precision", "teacher", "artifact", "miou")
    assert [second[name] for name in shown] == [
        "c1",
        "t",
        "student",
        "int8",
        "c0",
        "candidates/c1/model.onnx",
        0.5,
    ]
    assert json.loads(second["recipe"]) == {"a": 0.5, "b": 1}
    assert second["decoder_width"] == 64
    assert first["teacher"] is None


def test_a_failed_write_keeps_the_old_table(tmp_path, monkeypatch):
    written(tmp_path, trial())

    def fail(_, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("automl.store.tables.pq.write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        write_trials(StudyFolder(tmp_path), [])
    assert len(rows_of(tmp_path / "trials.parquet")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["trials.parquet"]


def test_trials_are_read_back_as_they_were_written(tmp_path):
    folder = StudyFolder(tmp_path)
    results = [
        trial(0, {"alpha": 0.5, "decoder": "fpn", "status": "x"}, (MIOU, LATENCY)),
        trial(1, {"alpha": 0.25, "cutmix": 0.1}, (), TrialStatus.INFEASIBLE),
    ]
    write_trials(folder, results)
    assert read_trials(folder) == {result.config.trial_id: result for result in results}


def test_a_value_that_lost_its_type_shows_in_the_hash(tmp_path):
    folder = StudyFolder(tmp_path)
    mixed = [trial(0, {"pretrained": True}), trial(1, {"pretrained": "weights.safetensors"})]
    write_trials(folder, mixed)
    same = [name == result.config.trial_id for name, result in read_trials(folder).items()]
    assert same == [False, True]


def test_without_a_table_there_are_no_trials_and_a_torn_one_is_told(tmp_path):
    folder = StudyFolder(tmp_path)
    assert read_trials(folder) == {}
    folder.trials_table.write_bytes(b"PAR1")
    with pytest.raises(StudyError, match=r"trials\.parquet: not a readable table"):
        read_trials(folder)
