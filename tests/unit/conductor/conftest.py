"""A study without training: an event log in memory, a clock by hand, trials that are formulas."""

import json

import pytest

from automl.bounds import violations
from automl.conductor.conductor import Conductor
from automl.records import Measurement, TrialMessage, TrialStatus, Verdict, canonical_json
from automl.space.experiment import Experiment
from automl.space.parameters import parameters_from
from automl.space.search_plan import plan_of


class KilledError(Exception):
    """The process died."""


class MemoryLog:
    """Keeps events as text, as a file would; may die just before or just after one append."""

    def __init__(self, events=(), *, dies_before=None, dies_after=None):
        self._lines = [canonical_json(event) for event in events]
        self._dies_before = dies_before
        self._dies_after = dies_after

    def append(self, event):
        if len(self._lines) == self._dies_before:
            raise KilledError
        self._lines.append(canonical_json(dict(event)))
        if len(self._lines) == self._dies_after:
            raise KilledError

    def read(self):
        return [json.loads(line) for line in self._lines]

    def epochs(self):
        """Every epoch on record, as (trial, epoch)."""
        return [
            (event["trial_id"], event["message"]["epoch"])
            for event in self.read()
            if event["kind"] == "message" and event["message"]["kind"] == "epoch"
        ]


class HandClock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Watcher:
    """Keeps what an observer is told."""

    def __init__(self):
        self.messages = []
        self.promoted = []
        self.snapshots = []

    def on_message(self, config, message, verdict):
        self.messages.append((config.number, message, verdict))

    def on_promoted(self, config, epoch):
        self.promoted.append((config.number, epoch))

    def on_snapshot(self, snapshot):
        self.snapshots.append(snapshot)


def experiment_of(**sections):
    plain = {
        "space": {
            "encoder": {"choice": ["resnet18", "resnet34"], "default": "resnet18"},
            "decoder_width": {"int": [16, 128], "step": 8, "default": 64},
            "alpha": {"float": [0.0, 1.0], "default": 0.5},
        },
        **sections,
    }
    plain["search"] = {"trials": 6, "sampler": "qmc", **plain.get("search", {})}
    plain["train"] = {"epochs": 4, **plain.get("train", {})}
    return Experiment.from_json(plain)


class World:
    """What outlives a kill: the event log's content, the checkpoints, and what was trained."""

    def __init__(self, experiment):
        self.experiment = experiment
        self.events = []
        self.checkpoints = {}
        self.trained = []

    def search(self, *, dies_before=None, dies_after=None):
        """One run of the search by one worker; the conductor, or None where it was killed."""
        log = MemoryLog(self.events, dies_before=dies_before, dies_after=dies_after)
        try:
            conductor = Conductor(
                plan_of(self.experiment), log, observer=Watcher(), clock=HandClock()
            )
            while (config := conductor.next_trial()) is not None:
                self._run(conductor, config)
        except KilledError:
            return None
        finally:
            self.events = log.read()
        return conductor

    def epochs(self):
        return MemoryLog(self.events).epochs()

    def _run(self, conductor, config):
        params = parameters_from(config.params)
        costs = costs_of(params)
        conductor.handle(config.trial_id, message("costs", 1.0, measurements=costs))
        if any(by > 0 for by in violations(self.experiment.constraints, costs).values()):
            ending = message("end", 2.0, status=TrialStatus.INFEASIBLE, reason="too large")
        elif params.alpha > 0.9:
            ending = message("end", 2.0, status=TrialStatus.FAILED, reason="diverged")
        elif self._is_paused(conductor, config, params):
            return
        else:
            ending = message("end", 30.0, status=TrialStatus.COMPLETED)
        conductor.handle(config.trial_id, ending)

    def _is_paused(self, conductor, config, params):
        """Train from the checkpoint on; like `fit`, tell the epoch that it starts from again."""
        name = config.trial_id
        epoch = self.checkpoints.get(name, 0)
        if epoch and self._verdict(conductor, name, params) is not Verdict.CONTINUE:
            return True
        while epoch < self.experiment.train.epochs:
            epoch += 1
            self.trained.append((name, epoch))
            self.checkpoints[name] = epoch
            if self._verdict(conductor, name, params) is not Verdict.CONTINUE:
                return True
        return False

    def _verdict(self, conductor, name, params):
        epoch = self.checkpoints[name]
        metrics = {"miou": miou_of(params, epoch)}
        return conductor.handle(name, message("epoch", 1.0 + epoch, epoch=epoch, metrics=metrics))


def message(kind, seconds=0.0, **fields):
    return TrialMessage(kind=kind, seconds=seconds, **fields)


def costs_of(params):
    large = 2.0 if params.encoder == "resnet34" else 1.0
    return (
        Measurement(metric="params_m", value=large * 10),
        Measurement(metric="latency_ms", value=large * params.decoder_width / 10),
    )


def miou_of(params, epoch):
    return (1 - abs(params.alpha - 0.4)) * (1 - 0.5**epoch) * (0.5 + params.decoder_width / 256)


@pytest.fixture
def world():
    """Make the world of an experiment."""
    return World


@pytest.fixture
def experiment():
    """Make an experiment of three parameters; sections replace the defaults."""
    return experiment_of


@pytest.fixture
def log():
    return MemoryLog()


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def watcher():
    return Watcher()


@pytest.fixture
def start(log, clock, watcher):
    """Build a conductor on the log as it is."""

    def build(of):
        return Conductor(plan_of(of), log, observer=watcher, clock=clock)

    return build


@pytest.fixture
def tell():
    """Pass a message to a conductor and give its verdict."""

    def say(conductor, config, kind, seconds=0.0, **fields):
        return conductor.handle(config.trial_id, message(kind, seconds, **fields))

    return say


@pytest.fixture
def cost():
    """Make the measurement of a cost."""

    def make(metric, value):
        return Measurement(metric=metric, value=value)

    return make
