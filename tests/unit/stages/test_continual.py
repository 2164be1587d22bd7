"""What is checked before a training goes on from trained weights."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from automl.data.importing import cached_dataset
from automl.errors import UsageError
from automl.jobs.beginning import trained_beginning
from automl.jobs.network import build_network
from automl.jobs.scoring import quality_measurements
from automl.jobs.trained import TrainedNetwork, read_trained, write_trained
from automl.measurement.image_counts import ImageCounts
from automl.records import DatasetInfo, Normalisation
from automl.space.experiment import Experiment
from automl.space.parameters import parameters_from
from automl.stages.continual import old_dataset, prepare_beginning, scores_of_present
from automl.stages.training_plan import Start
from automl.store.layout import StudyFolder

PARAMS = {"encoder": "mobilenetv3_small_050", "decoder_width": 16}
EXPERIMENT = Experiment.from_json({"data": {"size": [32, 32]}, "space": PARAMS})
TOY = DatasetInfo(
    name="toy",
    task="segmentation",
    classes=("ground", "crack", "rust"),
    size=(32, 32),
    counts={"train": 6, "val": 3, "test": 2},
    class_pixel_share=(0.8, 0.2, 0.0),
    class_images={"train": (6, 3, 0), "val": (3, 3, 1), "test": (2, 1, 1)},
    normalisation=Normalisation(mean=(120.0, 120.0, 120.0), std=(60.0, 60.0, 60.0)),
    fingerprint="f" * 64,
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return cached_dataset("builtin:surface-defects", size=(32, 32), cache=cache)


@pytest.fixture
def start_of(dataset):
    def make(**changes):
        network = TrainedNetwork(
            name="study/0",
            params=PARAMS,
            normalisation=dataset.info.normalisation,
            dataset=dataset.info,
            experiment=EXPERIMENT.to_json(),
        )
        model = build_network(parameters_from(PARAMS), dataset.info, seed=0)
        values = {
            "network": network,
            "state": model.state_dict(),
            "old_source": str(dataset.root),
            "must_match": True,
            "ewc_lambda": 0.0,
        }
        return Start(**(values | changes))

    return make


def study_in(root, dataset):
    said = []
    return SimpleNamespace(
        folder=StudyFolder(root),
        dataset=dataset,
        experiment=EXPERIMENT,
        narrator=SimpleNamespace(say=said.append),
    )


def test_the_report_leaves_classes_out_that_the_data_does_not_hold():
    """Of 3 classes one has neither pixels nor, rightly, scores: two pixels were taken for it."""
    confusion = np.array([[30, 8, 2], [5, 15, 0], [0, 0, 0]])
    counts = ImageCounts.of([confusion], 3)
    measured = quality_measurements(counts, ("ground", "crack", "rust"), "val")
    info = replace(TOY, class_images={**TOY.class_images, "val": (3, 3, 0)})
    found = scores_of_present(measured, info)
    iou = [30 / 45, 15 / 28]
    dice = [60 / 75, 30 / 43]
    expected = {
        "miou": sum(iou) / 2,
        "dice": sum(dice) / 2,
        "pixel_accuracy": 45 / 60,
        "iou.ground": iou[0],
        "iou.crack": iou[1],
    }
    assert found == pytest.approx(expected)
    everywhere = scores_of_present(measured, TOY)
    assert everywhere["miou"] == pytest.approx(sum(iou) / 3)
    assert everywhere["iou.rust"] == 0


def test_old_data_that_is_gone_or_another_is_an_error_only_where_it_is_needed(dataset, start_of):
    gone = {"old_source": "/nowhere/at/all"}
    assert old_dataset(start_of(**gone)) is None
    with pytest.raises(UsageError, match="--old-data names where"):
        old_dataset(start_of(**gone, ewc_lambda=1.0))
    with pytest.raises(UsageError, match="--old-data"):
        old_dataset(start_of(**gone, must_match=False))
    known = start_of().network
    other = replace(known, dataset=replace(known.dataset, fingerprint="0" * 64))
    assert old_dataset(start_of(network=other)) is None
    with pytest.raises(UsageError, match="not what the weights were trained on"):
        old_dataset(start_of(network=other, ewc_lambda=1.0))
    found = old_dataset(start_of(network=other, ewc_lambda=1.0, must_match=False))
    assert found.info.fingerprint == dataset.info.fingerprint


def test_a_folder_keeps_its_beginning(dataset, start_of, tmp_path):
    study = study_in(tmp_path, dataset)
    start = start_of(ewc_lambda=2.0)
    prepare_beginning(study, start, dataset)
    kept = trained_beginning(study.folder)
    assert kept.elastic.strength == 2.0
    assert kept.fisher.keys() <= kept.state.keys()
    assert all(float(value.min()) >= 0 for value in kept.fisher.values())
    model = kept.network(parameters_from(PARAMS), dataset.info, seed=9)
    loss = kept.step_loss(model, parameters_from(PARAMS), dataset.info, seed=9)
    assert loss.penalty(model).item() == 0
    prepare_beginning(study, start, dataset)
    for changed in (
        start_of(ewc_lambda=1.0),
        start_of(ewc_lambda=2.0, state={k: v + 1 for k, v in start.state.items()}),
        None,
    ):
        with pytest.raises(UsageError, match="--overwrite"):
            prepare_beginning(study, changed, dataset)


def test_a_training_that_began_from_scratch_does_not_go_on_from_weights(
    dataset, start_of, tmp_path
):
    study = study_in(tmp_path, dataset)
    study.folder.trials.mkdir()
    with pytest.raises(UsageError, match="did not go on from trained weights"):
        prepare_beginning(study, start_of(), dataset)


def test_a_trained_network_makes_the_round_trip(start_of, tmp_path):
    start = start_of()
    write_trained(tmp_path / "weights", start.network, start.state)
    network, state = read_trained(tmp_path / "weights")
    assert network == start.network
    assert state.keys() == start.state.keys()
    assert all(torch.equal(state[name], value) for name, value in start.state.items())
    (tmp_path / "weights" / "model.json").write_text("{")
    with pytest.raises(UsageError, match="not readable as a trained network"):
        read_trained(tmp_path / "weights")
