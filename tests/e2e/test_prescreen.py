"""A search that screens untrained networks first, and lets trials inherit weights."""

import json

import pytest

pytestmark = pytest.mark.slow


def test_the_chosen_are_tried_first_and_a_trial_has_a_donor(cli, tiny_space, tmp_path):
    text = tiny_space.read_text()
    widths, trials, epochs = "[16, 24]", "{trials: 3}", "{epochs: 2}"
    assert all(part in text for part in (widths, trials, epochs))
    tiny_space.write_text(
        text.replace(widths, "[16, 24, 32, 40]")
        .replace(trials, "{trials: 3, screen: {pool: 3, keep: 1, proxy: grad_norm}}")
        .replace(epochs, "{epochs: 2, inherit: true}")
    )
    out = tmp_path / "study"
    searched = cli("search", "--space", tiny_space, "--out", out, "--local", blocked=["ray"])
    assert searched.returncode == 0, searched.stdout + searched.stderr
    pool = json.loads((out / "screening.json").read_text())["pool"]
    assert len(pool) == 3
    (best,) = [point for point in pool if point["chosen"]]
    scores = [point["outcome"]["scores"]["grad_norm"] for point in pool]
    assert best["outcome"]["scores"]["grad_norm"] == max(scores)
    (second,) = (out / "trials").glob("0001-*")
    events = [
        json.loads(line)["event"] for line in (out / "journal.jsonl").read_text().splitlines()
    ]
    proposed = [event["config"]["params"] for event in events if event["kind"] == "proposed"]
    assert proposed[1] == best["params"]
    donor = json.loads((second / "donor" / "donor.json").read_text())
    assert donor["trial_id"].startswith("0000-")
    report = (out / "report.md").read_text()
    assert "## Pre-screen" in report
    assert "Too few trials" in report
