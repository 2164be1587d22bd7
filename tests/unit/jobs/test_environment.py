import platform
from importlib import metadata

from automl.jobs.environment import environment_here


def test_the_environment_tells_what_a_training_depends_on(context):
    here = environment_here(context().experiment.train, threads=3, runs_on="cpu: this process")
    assert here.python == platform.python_version()
    assert here.packages["torch"] == metadata.version("torch")
    assert {"numpy", "timm", "albumentations"} <= set(here.packages)
    assert (here.device, here.threads, here.runs_on) == ("cpu", 3, "cpu: this process")
    assert len(here.cpu) > 4


def test_a_driver_without_the_device_of_its_trials_still_has_an_environment(context, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    train = context(train={"device": "cuda"}).experiment.train
    assert environment_here(train, threads=1, runs_on="cuda: Ray on 3 nodes").device == "cuda"
