"""A plan as a user makes it: a real probe, a simulation, a table, a file."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

AWS = Path(__file__).parents[2] / "cluster" / "aws.yaml"


def test_a_plan_is_shown_and_kept_for_the_study(cli, tiny_space, tmp_path):
    words = ["plan", "--space", tiny_space, "--cluster", AWS, "--speedup", "5-9", "--nodes", "1,3"]
    done = cli(*words, "--networks", "2", "--out", "study", "--json", "plan.json")
    assert done.returncode == 0, done.stdout + done.stderr
    for part in (
        "prices of aws",
        "probe: trial 1",
        "3 trials on g6.2xlarge",
        "5 to 9 times",
        "USD",
    ):
        assert part in " ".join(done.stdout.split()), part
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert json.loads((tmp_path / "study" / "plan.json").read_text()) == plan
    assert [option["nodes"] for option in plan["options"]] == [1, 3]
    for option in plan["options"]:
        assert 0 < option["wall_s"]["low"] <= option["wall_s"]["high"]
        assert option["money"]["total"]["mid"] > option["money"]["standing"] > 0
    assert [path.name for path in (tmp_path / "study").iterdir()] == ["plan.json"]
