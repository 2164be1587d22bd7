"""A probe that nobody measured, and the cluster files of the project."""

from pathlib import Path

import pytest

from automl.measurement.pace import NetworkPace, Probe
from automl.records import Measurement
from automl.space.experiment import Experiment

ROOT = Path(__file__).parents[3]


@pytest.fixture
def cluster_folder():
    return ROOT / "cluster"


@pytest.fixture
def network():
    """Make a probed network; fields replace the usual ones."""

    def make(number=0, **fields):
        usual = {
            "params": {"encoder": "resnet18"},
            "setup_s": 4.0,
            "costs": (Measurement(metric="latency_ms", value=5.0),),
            "image_s": 0.005,
            "epoch_s": 20.0,
            "evaluation_s": 2.0,
        }
        return NetworkPace(number=number, **(usual | fields))

    return make


@pytest.fixture
def probe(network):
    """Make a probe of networks; without any, of one."""

    def make(*networks, **fields):
        usual = {
            "process_s": 8.0,
            "device": "cpu",
            "cpu": "a processor",
            "threads": 1,
            "images": {"train": 100, "val": 20, "test": 20},
        }
        return Probe(networks=networks or (network(),), **(usual | fields))

    return make


@pytest.fixture
def experiment():
    """Make an experiment; sections replace the usual ones."""

    def make(**sections):
        usual = {
            "space": {"encoder": "resnet18"},
            "search": {"trials": 6, "min_epochs": 2},
            "train": {"epochs": 6},
            "compress": {"winners": 1, "students": [], "int8": False},
        }
        return Experiment.from_json(usual | sections)

    return make
