import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from automl.cli.describe import (
    describe_dataset,
    describe_experiment,
    describe_plan,
    describe_report,
)
from automl.records import (
    Candidate,
    DatasetInfo,
    Lineage,
    Measurement,
    Normalisation,
    TrialConfig,
    TrialResult,
    TrialStatus,
)
from automl.space.experiment import Experiment
from automl.stages.finalists import Repeated, Repeats
from automl.stages.pipeline import StudyReport
from automl.stages.rank import Ranking
from automl.store.tables import Standing

NONE = Repeats(metric="miou")
NORMALISATION = Normalisation(mean=(1.0, 1.0, 1.0), std=(1.0, 1.0, 1.0))


def candidate(name, miou, latency_ms, test=None):
    quality = [Measurement(metric="miou", value=miou, split="val")]
    if test is not None:
        quality.append(Measurement(metric="miou", value=test, split="test"))
    costs = {"params_m": 1.234, "size_mb": 4.56, "latency_ms": latency_ms}
    return Candidate(
        candidate_id=name,
        artifact=f"candidates/{name}/model.onnx",
        lineage=Lineage(trial_id="0000-abc", kind="trial", precision="fp32"),
        params={"encoder": "resnet18", "decoder": "fpn", "decoder_width": 64},
        normalisation=NORMALISATION,
        measurements=(*quality, *(Measurement(metric=m, value=v) for m, v in costs.items())),
    )


def report_of(*, front, default, smallest=None, repeats=NONE):
    candidates = (
        candidate("trial0-fp32", 0.50, 10.0, test=0.49),
        candidate("trial1-int8", 0.55, 4.0, test=0.54),
        candidate("trial2-fp32", 0.40, 30.0),
    )
    return StudyReport(
        epochs=3,
        planned_epochs=40,
        device_hours=0.25,
        results=tuple(
            TrialResult(
                config=TrialConfig(number=number, seed=0, params={}), status=status, epochs=1
            )
            for number, status in enumerate([TrialStatus.COMPLETED] * 2 + [TrialStatus.FAILED])
        ),
        ranking=Ranking(
            candidates=candidates,
            standing=Standing(
                front=frozenset(front),
                knee=front[0],
                best="trial1-int8",
                smallest=smallest,
                default=default,
            ),
            hypervolume=1.23456,
            reference=(0.0, 10.0),
        ),
        repeats=repeats,
        bundles={"best": Path("out/bundles/best"), "trial1-int8": Path("out/bundles/trial1-int8")},
    )


def shown(report):
    console = Console(file=io.StringIO(), width=120)
    console.print(describe_report(report, "out"))
    return console.file.getvalue()


def row(text, name):
    (line,) = [line for line in text.splitlines() if line.strip().startswith(name + " ")]
    return re.split(r"\s{2,}", line.strip())


def test_the_front_is_compared_with_the_default():
    text = shown(report_of(front=["trial1-int8"], default="trial0-fp32"))
    assert row(text, "trial1-int8")[1:] == [
        "resnet18", "fpn 64", "1.23", "4.6", "0.5500", "0.5400", "4.00", "2.50", "1.10",
        "best, knee",
    ]  # fmt: skip
    assert row(text, "trial0-fp32")[-3:] == ["1.00", "1.00", "default"]
    assert "trial2-fp32" not in text, "neither on the front nor the default"
    assert "trials: 2 completed, 0 stopped, 0 infeasible, 1 failed" in text
    assert "hypervolume 1.2346 (reference point 0, 10)" in text
    assert "  out/bundles/best\n" in text
    assert "next: automl predict out/bundles/best photo.jpg --out mask.png" in text


def test_a_default_on_the_front_has_one_row():
    text = shown(report_of(front=["trial0-fp32", "trial1-int8"], default="trial0-fp32"))
    assert len([line for line in text.splitlines() if "trial0-fp32" in line]) == 1


def test_the_smallest_has_a_row_even_off_the_front():
    text = shown(report_of(front=["trial1-int8"], default="trial0-fp32", smallest="trial2-fp32"))
    assert row(text, "trial2-fp32")[-1] == "smallest"
    assert row(text, "trial0-fp32")[-1] == "default"


def test_a_default_that_is_the_smallest_has_one_row():
    text = shown(report_of(front=["trial1-int8"], default="trial0-fp32", smallest="trial0-fp32"))
    assert row(text, "trial0-fp32")[-1] == "smallest, default"


def test_without_a_default_nothing_is_compared():
    text = shown(report_of(front=["trial1-int8"], default=None))
    assert row(text, "trial1-int8")[-3:] == ["-", "-", "best, knee"]


def test_a_dataset_is_described_by_counts_shares_and_fingerprint():
    info = DatasetInfo(
        name="toy",
        task="segmentation",
        classes=("ground", "crack"),
        size=(96, 128),
        counts={"train": 10, "val": 3, "test": 2},
        class_pixel_share=(0.975, 0.025),
        class_images={"train": (10, 4), "val": (3, 1), "test": (2, 1)},
        normalisation=NORMALISATION,
        fingerprint="0123456789abcdef" * 4,
    )
    text = "\n".join(describe_dataset(info))
    assert "toy: 10 train, 3 val, 2 test images at 96 x 128 (height x width)" in text
    assert "ground 97.50%, crack 2.50%" in text
    assert "fingerprint 0123456789abcdef\n" in text
    other = describe_dataset(replace(info, name="other"))
    assert "other" in other[0]


@pytest.fixture
def experiment():
    def make(**sections):
        return Experiment.from_json({"space": {"alpha": 0.5}, **sections})

    return make


def test_an_experiment_is_described_by_goals_bounds_and_budget(experiment):
    search = {"trials": 7, "time_budget": "30m", "sampler": "qmc", "seed": 9}
    of = experiment(search=search, constraints={"size_mb": 12, "latency_ms": 7.5})
    text = "\n".join(describe_experiment(of))
    assert "maximize miou, minimize latency_ms" in text
    assert "size_mb <= 12" in text
    assert "latency_ms <= 7.5" in text
    assert "7 trials of at most 12 epochs, at most 30m" in text
    assert "qmc, seed 9" in text
    assert "rungs      7 to epoch 1, 3 to epoch 3, 1 to epoch 9, 1 to epoch 12" in text
    assert "22 epochs in all" in text


def test_a_fidelity_is_told_rung_by_rung_and_counted_in_full_epochs(experiment):
    fidelity = {"data_share": [0.25, 0.5, 1], "size": [0.5, 1, 1]}
    of = experiment(
        data={"size": [64, 128]},
        search={"trials": 10, "min_epochs": 2, "fidelity": fidelity},
        train={"epochs": 12},
    )
    text = "\n".join(describe_experiment(of))
    assert (
        "rungs      10 to epoch 2 (at 25 % of the data, 32 x 64), "
        "4 to epoch 6 (at 50 % of the data, 64 x 128), "
        "2 to epoch 12 (at 100 % of the data, 64 x 128): 21.2 full epochs in all"
    ) in text


def test_all_budgets_are_told(experiment):
    search = {"device_hours": 1.5, "stop_when": {"front_unchanged_for": 20}}
    text = "\n".join(describe_experiment(experiment(search=search)))
    assert "at most 1.5 device-hours, until 20 trials leave the front as is" in text


def test_what_is_not_limited_is_said_to_be_so(experiment):
    text = "\n".join(describe_experiment(experiment()))
    assert "no time limit" in text
    assert "subject to" not in text


def test_a_budget_in_seconds_has_its_unit(experiment):
    text = "\n".join(describe_experiment(experiment(search={"time_budget": 600})))
    assert "at most 600 s" in text


def test_a_plan_says_where_it_runs_and_what_follows(experiment):
    of = experiment(compress={"winners": 3, "students": []}, target={"threads": 2})
    text = "\n".join(describe_plan(of, "this process", "on a probe", "results/x"))
    assert "runs on    this process" in text
    assert "onnxruntime on cpu, 2 thread(s), batch 1" in text
    assert "latency    on a probe" in text
    assert "3 winners, 0 student(s) each, each also as INT8" in text
    assert "results    results/x" in text
    floats = experiment(compress={"int8": False})
    assert "INT8" not in "\n".join(describe_plan(floats, "x", "here", "y"))


@pytest.mark.parametrize(
    ("sections", "notes"),
    [
        ({"train": {"epochs": 4}}, []),
        (
            {"train": {"epochs": 4, "warmup_epochs": 2.5}},
            ["note       train.warmup_epochs 2.5 is cut to half of the 4 epochs"],
        ),
        (
            {"train": {"epochs": 4}, "space": {"warmup_epochs": {"int": [0, 3]}}},
            ["note       space.warmup_epochs 3 is cut to half of the 4 epochs"],
        ),
        ({"train": {"epochs": 4}, "space": {"warmup_epochs": {"choice": [0, 2]}}}, []),
        (
            {
                "train": {"epochs": 4, "warmup_epochs": 3, "accumulate": 2, "clip_norm": "none"},
                "space": {
                    "schedule": {"choice": ["cosine", "one_cycle"]},
                    "warmup_epochs": {"choice": [0, 2], "when": {"schedule": ["cosine"]}},
                    "accumulate": {"choice": [1, 2]},
                    "clip_norm": 0.5,
                },
            },
            [
                "note       train.warmup_epochs 3 is cut to half of the 4 epochs",
                "note       train.accumulate holds for no trial: space.accumulate does",
                "note       train.clip_norm holds for no trial: space.clip_norm does",
            ],
        ),
        (
            {"train": {"epochs": 4}, "search": {"min_epochs": 4}},
            ["note       search.min_epochs 4 of 4 epochs: no trial can be stopped early"],
        ),
    ],
)
def test_a_schedule_that_is_not_what_it_seems_is_noted(sections, notes):
    experiment = Experiment.from_json({"space": {"alpha": 0.5}, **sections})
    lines = describe_experiment(experiment)
    assert [line for line in lines if line.startswith("note")] == notes


def test_a_study_ends_with_what_further_seeds_gave():
    best, default = candidate("trial1-int8", 0.55, 4.0), candidate("trial0-fp32", 0.50, 10.0)
    repeats = Repeats(
        metric="miou",
        wanted=2,
        files=(
            Repeated(candidate=best, again={7: candidate("a", 0.6, 1.0, 0.5)}),
            Repeated(candidate=default, again={7: candidate("b", 0.4, 1.0, 0.35)}),
        ),
    )
    printed = shown(report_of(front=["trial1-int8"], default="trial0-fp32", repeats=repeats))
    assert "further seeds, mean of 1: best miou 0.6000 on val, 0.5000 on test" in printed
    assert "  best - default +0.2000 on val, +0.1500 on test" in printed
    none = shown(report_of(front=["trial1-int8"], default="trial0-fp32"))
    assert "further seeds" not in none


def test_further_seeds_that_all_failed_are_told():
    repeats = Repeats(metric="miou", wanted=2)
    printed = shown(report_of(front=["trial1-int8"], default="trial0-fp32", repeats=repeats))
    assert "further seeds: none of the best model succeeded" in printed


def test_a_plan_tells_of_averaged_views():
    plain = {"space": {"alpha": 0.5}, "export": {"tta": {"scales": [1, 1.25], "flip": True}}}
    lines = describe_plan(Experiment.from_json(plain), "cpu: this process", "here", "out")
    assert any(
        line.endswith("bundles also scored by averaged views: scale 1, 1.25, each also mirrored")
        for line in lines
    )


def test_a_plan_tells_of_further_seeds():
    plain = {"space": {"alpha": 0.5}, "export": {"finalist_seeds": 3}}
    of = Experiment.from_json(plain)
    lines = describe_plan(of, "cpu: this process", "here", "out")
    assert any("best and default again with 3 further seed(s)" in line for line in lines)
