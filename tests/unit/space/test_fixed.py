import pytest

from automl.errors import UsageError
from automl.space.experiment import Experiment
from automl.space.fixed import parse_assignments, single_trial


def test_assignments_take_the_types_of_their_parameters():
    words = ["learning_rate=1e-4,batch_size=8", "encoder=resnet18", "pretrained=false"]
    found = parse_assignments(words, "--params")
    assert found == {
        "learning_rate": 1e-4,
        "batch_size": 8,
        "encoder": "resnet18",
        "pretrained": False,
    }
    assert isinstance(found["batch_size"], int)


def test_a_path_may_hold_a_comma():
    found = parse_assignments(["pretrained=/a,b/w.pth,alpha=0.5"], "--params")
    assert found == {"pretrained": "/a,b/w.pth", "alpha": 0.5}


def test_every_fault_is_told_with_what_is_allowed():
    with pytest.raises(UsageError) as caught:
        parse_assignments(["learning_rte=1", "batch_size=many", "alpha"], "--params")
    told = str(caught.value).splitlines()
    assert len(told) == 3
    assert told[0].endswith("did you mean learning_rate?")
    assert "batch_size: given 'many'; allowed: a whole number" in told[1]
    assert "name=value" in told[2]


def test_a_single_trial_has_the_values_and_nothing_of_a_search():
    plain = {
        "data": {"size": [64, 32]},
        "space": {"encoder": "resnet18", "alpha": {"float": [0.1, 0.9], "default": 0.5}},
        "constraints": {"size_mb": 1},
        "search": {"trials": 9, "fidelity": {"data_share": [0.5, 1], "size": [1, 1]}},
        "train": {"epochs": 2, "inherit": True, "clip_norm": 3.0},
        "compress": {"int8": False, "students": [{"pruning_ratio": 0.5}]},
        "export": {"finalist_seeds": 3, "golden_samples": 1},
    }
    experiment = single_trial(
        Experiment.from_json(plain), {"encoder": "resnet18", "alpha": 0.95}, seed=3, epochs=5
    )
    assert experiment.space.default() == {"encoder": "resnet18", "alpha": 0.95}
    assert (experiment.search.trials, experiment.search.seed) == (1, 3)
    assert not experiment.constraints
    assert experiment.fidelity.stretches == ()
    assert (experiment.train.epochs, experiment.train.inherit) == (5, False)
    assert experiment.train.clip_norm == 3.0
    assert (experiment.compress.students, experiment.compress.int8) == ((), None)
    assert (experiment.export.finalist_seeds, experiment.export.golden_samples) == (0, 1)
    assert experiment.data.size == (64, 32)
