"""`automl submit` refuses here what would fail there, before any cluster is asked."""

import pytest

NOWHERE = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--out", "results/x"], "--out: given results/x; allowed: an absolute path"),
        (["--out", "/x", "--data", "data"], "--data: given data; allowed: an absolute path"),
        (["--out", "/x", "--trails", "3"], "No such option: --trails"),
        (["--out", "/x", "--trials", "many"], "--trials"),
        (["--out", "/x", "--local"], "the search runs on the cluster that it is sent to"),
        (["--out", "/x"], f"--address: given {NOWHERE}; allowed: the address of a Ray dashboard"),
    ],
)
def test_bad_words_are_told_before_a_job_is_sent(cli, tiny_space, words, told):
    done = cli("submit", "--space", tiny_space, "--address", NOWHERE, *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_faulty_experiment_is_told_before_a_job_is_sent(cli, tiny_space):
    tiny_space.write_text(tiny_space.read_text().replace("trials: 3", "trails: 3"))
    done = cli("submit", "--space", tiny_space, "--out", "/x", "--address", NOWHERE)
    assert done.returncode == 2
    assert "trails" in done.stderr
    assert "trials" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--wait-for-workers", "soon"], "--wait-for-workers: given 'soon'; allowed: a time"),
        (["--local", "--dashboard"], "--dashboard and --wait-for-workers are Ray's"),
    ],
)
def test_options_of_clusters_are_checked_before_any_work(cli, tiny_space, words, told):
    done = cli("search", "--space", tiny_space, *words)
    assert done.returncode == 2
    assert told in done.stderr
