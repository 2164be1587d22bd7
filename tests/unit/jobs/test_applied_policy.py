"""A declared policy is proven from the pipeline as built, value by value."""

import json
from dataclasses import replace

import pytest

from automl.data.augment import Augmentation
from automl.data.batching import EpochPlan
from automl.jobs import trainee, trial
from automl.jobs.compress import CompressJob, compress_candidate
from automl.jobs.trial import run_trial
from automl.records import Candidate, TrialStatus, from_json
from automl.space.experiment import Experiment
from automl.space.policies.policy import Policy

POLICIES = {
    "mine": [
        "horizontal_flip",
        {"elastic": {"magnitude": {"float": [0.0, 1.0]}, "p": {"float": [0.0, 0.8]}}},
        {"affine": {"rotate": 15, "p": 0.8}},
    ]
}
SPACE = {
    "encoder": "mobilenetv3_small_050",
    "decoder_width": 16,
    "batch_size": 4,
    "augmentation": {"choice": ["light", "mine"]},
}
P, MAGNITUDE = "augmentation.mine.elastic.p", "augmentation.mine.elastic.magnitude"
TAKEN = {"augmentation": "mine", P: 0.25, MAGNITUDE: 1.0}


@pytest.fixture(autouse=True)
def without_costs(monkeypatch):
    monkeypatch.setattr(trial, "measure_costs", lambda _config, _context: ())


@pytest.fixture
def declared(context):
    def make(**sections):
        return context(augmentation_policies=POLICIES, space=SPACE, **sections)

    return make


def changing(index, **changes):
    """A plan whose policy differs in one step."""

    def plant(patch):
        honest = EpochPlan.__init__

        def other(self, split, settings, *rest):
            steps = list(settings.augmentation.steps)
            steps[index] = replace(steps[index], **changes)
            policy = Policy(name=settings.augmentation.name, steps=tuple(steps))
            honest(self, split, replace(settings, augmentation=policy), *rest)

        patch.setattr(EpochPlan, "__init__", other)

    return plant


def forgetting_the_values(patch):
    """The policy of the space's defaults, whatever was sampled."""
    honest = Experiment.policy
    patch.setattr(Experiment, "policy", lambda self, params: honest(self, {"augmentation": "mine"}))


def taking_another(patch):
    honest = trainee.replace

    def other(settings, **changes):
        return honest(settings, **{**changes, "augmentation": "light"})

    patch.setattr(trainee, "replace", other)


FAULTS = {
    "p": (changing(1, p=0.5), f"{P}: sampled 0.25, live 0.5"),
    "setting": (
        changing(1, settings=(("bend", 0.01),)),
        "augmentation.mine.elastic.bend: sampled 0.03, live alpha ",
    ),
    "fixed p": (changing(0, p=0.9), "augmentation.mine.horizontal_flip.p: sampled 0.5, live 0.9"),
    "fixed setting": (
        changing(2, settings=(("scale", 0.0), ("rotate", 5.0), ("shear", 0.0), ("shift", 0.0))),
        "augmentation.mine.affine.scale|rotate|shear|shift: sampled 0, 15, 0, 0, live rotate ",
    ),
    "another": (taking_another, "augmentation: sampled 'mine', live the transforms "),
    "values": (forgetting_the_values, f"{P}: sampled 0.25, live 0.4"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_ignored_value_fails_the_trial_by_its_name(
    fault, declared, config, recorder, monkeypatch
):
    plant, told = FAULTS[fault]
    plant(monkeypatch)
    heard = recorder()
    run_trial(config(**TAKEN), declared(), heard)
    assert heard.messages[-1].status is TrialStatus.FAILED
    assert told in heard.messages[-1].reason


@pytest.mark.slow
def test_a_sound_policy_trains_and_its_values_stay_with_the_candidate(declared, config, recorder):
    of, heard = declared(compress={"students": [{}], "epochs": 1, "int8": False}), recorder()
    run_trial(config(**TAKEN), of, heard)
    assert heard.messages[-1].status is TrialStatus.COMPLETED, heard.messages[-1].reason
    seen = []
    honest = Augmentation.__init__

    def watching(self, policy, *rest):
        seen.append(policy)
        honest(self, policy, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Augmentation, "__init__", watching)
        job = CompressJob(config=config(**TAKEN), student=0, context=of)
        done = compress_candidate(job)
    assert done.candidate_ids, done.summary
    student = of.folder.candidate(done.candidate_ids[0]) / "candidate.json"
    params = from_json(Candidate, json.loads(student.read_text())).params
    assert (params["augmentation"], params[P], params[MAGNITUDE]) == ("mine", 0.25, 1.0)
    wanted = of.experiment.policy(TAKEN)
    assert wanted in seen  # the student learns on what its teacher learnt on
