"""Two processes on gloo against one: the same global batches must give the same training."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).with_name("ddp_worker.py")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(dataset, tmp_path_factory):
    """What each rank gave, by (rank, world size), then by scenario."""
    out = tmp_path_factory.mktemp("ranks")
    ranks = [(0, 1), (0, 2), (1, 2)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    logs = [(out / f"rank-{rank}-of-{world}.log").open("w") for rank, world in ranks]
    workers = [
        subprocess.Popen(
            [sys.executable, WORKER, dataset.root, out, str(rank), str(world)],
            stdout=subprocess.DEVNULL,
            stderr=log,
            env=environment,
        )
        for (rank, world), log in zip(ranks, logs, strict=True)
    ]
    try:
        for worker, log in zip(workers, logs, strict=True):
            assert worker.wait(timeout=240) == 0, Path(log.name).read_text()
    finally:
        for worker, log in zip(workers, logs, strict=True):
            worker.kill()
            worker.wait()
            log.close()
    return {
        (rank, world): json.loads((out / f"rank-{rank}-of-{world}.json").read_text())
        for rank, world in ranks
    }


@pytest.mark.parametrize(
    "scenario",
    [
        "combined",
        "all_options",
        "generalised_dice_oversampled",
        "all_mixes",
        "accumulated",
        "distilled",
        "averaged",
        "self_taught",
        "self_taught_synchronised",
        "frozen",
        "deeply_supervised",
        "synchronised",
        "synchronised_with_all",
        "synchronised_unfreezing",
        "synchronised_stretched",
    ],
)
def test_two_ranks_train_as_one(found, scenario):
    alone, first, second = (found[rank][scenario] for rank in ((0, 1), (0, 2), (1, 2)))
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    assert first["metrics"] == pytest.approx(alone["metrics"], rel=1e-3)
    for name, values in alone["weights"].items():
        assert first["weights"][name] == pytest.approx(values, rel=1e-3, abs=1e-5)
    assert second == first


def test_loss_that_trains_itself_is_trained_alike_on_all_ranks(found):
    alone, first, second = (found[rank]["distilled"] for rank in ((0, 1), (0, 2), (1, 2)))
    assert first["adapter"] == second["adapter"]
    assert first["adapter"] == pytest.approx(alone["adapter"], rel=1e-3, abs=1e-5)


def test_heads_of_deep_supervision_are_trained_alike_on_all_ranks(found):
    alone, first, second = (found[rank]["deeply_supervised"] for rank in ((0, 1), (0, 2), (1, 2)))
    assert first["heads"] == second["heads"]
    assert first["heads"] == pytest.approx(alone["heads"], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(
    "scenario",
    ["averaged_with_norm", "self_taught_with_norm", "unfreezing", "synchronised_in_pieces"],
)
def test_ranks_agree_on_averages_and_on_what_is_let_go(found, scenario):
    first, second = (found[rank][scenario] for rank in ((0, 2), (1, 2)))
    assert first == second


def test_a_group_goes_on_in_the_middle_of_letting_go(found):
    for rank in ((0, 1), (0, 2), (1, 2)):
        continued, undisturbed = (
            found[rank][name] for name in ("unfreezing_continued", "unfreezing")
        )
        assert continued["losses"] == undisturbed["losses"]
        assert continued["weights"] == undisturbed["weights"]


def test_norms_of_two_ranks_are_the_norm_of_their_batch(found):
    """Alone it is torch's own: what it gives in double precision, its gradients, what it keeps."""
    alone, first, second = (found[rank]["norm_of_parts"] for rank in ((0, 1), (0, 2), (1, 2)))
    for name in ("normed", "gradient"):
        assert len(first[name]) == 4
        assert_close(first[name] + second[name], alone[name])
    for name in ("weight", "bias"):
        assert_close(
            [sum(pair) for pair in zip(first[name], second[name], strict=True)], alone[name]
        )
    for name in ("mean", "var"):
        assert_close(first[name], alone[name])
        assert second[name] == first[name]


def assert_close(given, expected):
    torch.testing.assert_close(
        *(torch.tensor(values, dtype=torch.float64) for values in (given, expected))
    )


def test_norms_that_do_not_see_what_was_declared_are_told(found):
    told = "1 of 1 batch norms see one worker's part of the batch alone"
    other = "0 of 1 batch norms see one worker's part of the batch alone"
    for rank in ((0, 2), (1, 2)):
        assert found[rank]["lies"] == {
            "declared False, live False": {},
            "declared True, live True": {},
            "declared True, live False": {
                "train.sync_batch_norm": f"declared True, live {told}",
            },
            "declared False, live True": {
                "train.sync_batch_norm": f"declared False, live {other}",
            },
        }
    assert not any(found[0, 1]["lies"].values())


def test_norms_without_a_share_train_otherwise(found):
    """So that the comparison with one process can fail."""
    alone, parts = found[0, 1]["with_norm"], found[0, 2]["with_norm"]
    assert parts["losses"] != pytest.approx(alone["losses"], rel=1e-4)


def test_a_group_whose_norms_share_goes_on_as_if_undisturbed(found):
    for rank in ((0, 1), (0, 2), (1, 2)):
        continued, undisturbed = (
            found[rank][name] for name in ("synchronised_continued", "synchronised")
        )
        assert continued["losses"] == undisturbed["losses"]
        assert continued["weights"] == undisturbed["weights"]


def test_scores_over_uneven_parts_are_exactly_those_of_the_whole(found):
    """7 images in batches of 2: of the last batch the second rank has nothing."""
    alone, first, second = (found[rank]["evaluated"] for rank in ((0, 1), (0, 2), (1, 2)))
    assert first["confusion"] == alone["confusion"]
    assert first["cross_entropy"] == pytest.approx(alone["cross_entropy"], rel=1e-6)
    assert second == first


def test_ranks_end_with_the_same_statistics_of_norms(found):
    first, second = (found[rank]["with_norm"] for rank in ((0, 2), (1, 2)))
    assert first == second
    assert any("running_mean" in name for name in first["weights"])


def test_ranks_agree_over_a_share_of_the_data_at_a_smaller_size(found):
    first, second = (found[rank]["stretched"] for rank in ((0, 2), (1, 2)))
    assert first == second
    assert first["losses"] != found[0, 2]["with_norm"]["losses"]
    assert first["epochs"] == 3


def test_verdict_of_the_first_rank_counts(found):
    for rank in ((0, 2), (1, 2)):
        result = found[rank]["stopped_by_first_rank"]
        assert (result["epochs"], result["stopped"]) == (2, True)


def test_every_rank_hears_the_same(found):
    first, second = (found[rank]["combined"]["heard"] for rank in ((0, 2), (1, 2)))
    assert first == second
    assert [epoch for epoch, _ in first] == [1, 2, 3]


def test_continued_group_goes_on_as_if_undisturbed(found):
    for rank in ((0, 1), (0, 2), (1, 2)):
        continued, undisturbed = found[rank]["continued"], found[rank]["combined"]
        assert continued["losses"] == undisturbed["losses"]
        assert continued["weights"] == undisturbed["weights"]


def test_failed_report_ends_every_rank(found):
    assert found[0, 2]["report_fails_on_first_rank"] == "OSError: disk full"
    assert (
        found[1, 2]["report_fails_on_first_rank"]
        == "TrialError: the report of epoch 1 failed on rank 0"
    )


def test_loss_that_is_not_finite_on_one_rank_ends_every_rank(found):
    first, second = (found[rank]["not_finite_on_last_rank"] for rank in ((0, 2), (1, 2)))
    assert first == second
    assert first.startswith("TrialError: the loss is nan at step 1 of 6")


def test_loader_threads_change_no_bit_of_a_group(found):
    """And so two runs of one group are alike, bit by bit."""
    for rank in ((0, 1), (0, 2), (1, 2)):
        assert found[rank]["loader_threads"] == found[rank]["combined"]


def test_ranks_train_in_the_manner_that_the_first_one_found(found):
    first, second = (found[rank]["fastest"] for rank in ((0, 2), (1, 2)))
    assert first == second
    kept, settings = first["kept"], first["settings"]
    assert settings["precision"] == kept["precision"] in {"fp32", "bf16"}
    assert settings["manner"]["layout"] == kept["layout"]
    assert settings["loader_workers"] == kept["loader_workers"]
    assert len(kept["step_ms"]) == 4
    assert not settings["manner"]["compiled"]
    assert kept["not_compiled"] == "only done for trials of one worker"
