from dataclasses import replace

import pytest

from automl.errors import StudyError
from automl.store.environment import (
    Environment,
    EnvironmentFile,
    environment_differences,
    read_environments,
    record_environment,
)

HERE = Environment(
    python="3.11.4",
    packages={"torch": "2.15.0", "numpy": "2.3.0"},
    cpu="EPYC (AVX512)",
    device="cpu",
    threads=2,
    runs_on="cpu: this process",
)
THERE = replace(HERE, threads=1)


def test_an_environment_holds_from_its_event_on(tmp_path):
    file = tmp_path / "environment.json"
    record_environment(file, HERE, first_event=0)
    record_environment(file, THERE, first_event=5)
    kept = read_environments(file)
    assert [kept.at(event) for event in (0, 4, 5, 99)] == [HERE, HERE, THERE, THERE]


def test_the_same_environment_again_is_no_other_one(tmp_path):
    file = tmp_path / "environment.json"
    record_environment(file, HERE, first_event=0)
    before = file.read_bytes()
    record_environment(file, HERE, first_event=7)
    assert file.read_bytes() == before


def test_a_run_that_made_no_event_leaves_no_environment(tmp_path):
    file = tmp_path / "environment.json"
    record_environment(file, HERE, first_event=0)
    record_environment(file, THERE, first_event=3)
    other = replace(HERE, threads=4)
    record_environment(file, other, first_event=3)
    kept = read_environments(file)
    assert [entry.environment for entry in kept.environments] == [HERE, other]


def test_without_a_file_nothing_is_known_and_a_damaged_one_is_told(tmp_path):
    file = tmp_path / "environment.json"
    assert read_environments(file) == EnvironmentFile()
    assert read_environments(file).at(3) is None
    file.write_text("[]")
    with pytest.raises(StudyError, match=r"environment\.json: not a readable list"):
        read_environments(file)


def test_differences_name_what_can_change_a_number_and_nothing_else():
    other = replace(
        HERE, threads=1, packages={"torch": "2.14.0", "timm": "1.0"}, runs_on="cpu: Ray on 1 node"
    )
    assert environment_differences(HERE, HERE) == []
    assert environment_differences(HERE, other) == [
        "CPU threads: recorded 2, here 1",
        "numpy: recorded 2.3.0, here absent",
        "torch: recorded 2.15.0, here 2.14.0",
        "timm: recorded absent, here 1.0",
    ]
