from __future__ import annotations

import random
from typing import ClassVar

import numpy as np
import pytest

from automl.records import Objective
from automl.sampling.proposer import Proposer
from automl.space.forms import parse_space

PLAIN = {
    "encoder": {"choice": ["small", "large", "huge"], "default": "large"},
    "decoder": {"choice": ["fpn", "unet"]},
    "batch_size": {"int": [2, 32], "log": True},
    "pretrained": False,
    "pruning_ratio": {"float": [0.0, 0.6], "default": 0.0},
    "learning_rate": {"float": [1e-4, 1e-2], "log": True},
}
WIDTH = {"int": [32, 128], "step": 32}


class Lab:
    """Spaces, objectives and made-up trials for the tests of proposals."""

    space = parse_space({**PLAIN, "decoder_width": {**WIDTH, "when": {"decoder": ["fpn"]}}})
    objectives = (
        Objective(metric="miou", direction="maximize"),
        Objective(metric="latency_ms", direction="minimize"),
    )
    fidelities = (1, 3, 9)
    bounds: ClassVar = {"latency_ms": 30.0}

    def proposer(self, sampler="tpe", seed=0, **changes):
        arguments = {"fidelities": self.fidelities, "bounds": self.bounds, **changes}
        space = arguments.pop("space", self.space)
        objectives = arguments.pop("objectives", self.objectives)
        return Proposer(space, objectives, sampler=sampler, seed=seed, **arguments)

    def calls(self, number, params):
        """What a trial tells: its beginning, then any end that a trial may have."""
        rng = random.Random(number)
        accuracy = 1 - abs(np.log10(params["learning_rate"]) + 2.5) - 0.1 * rng.random()
        latency = {"small": 5.0, "large": 10.0, "huge": 60.0}[params["encoder"]]
        latency *= 1 - params["pruning_ratio"]
        told = [("begin", number, params)]
        if latency > 30:
            return [*told, ("reject", number, {"latency_ms": latency - 30})]
        if number % 7 == 5:
            return [*told, ("reject", number, {})]
        reached = 1 + (number % 2 == 0) + (number % 4 == 0)
        return told + [
            ("observe", number, fidelity, (accuracy + 0.01 * fidelity, latency))
            for fidelity in self.fidelities[:reached]
        ]

    def tell(self, listener, told):
        for verb, *arguments in told:
            getattr(listener, verb)(*arguments)

    def study(self, proposer, count, told=()):
        """Goes on from what was told until there are `count` trials; gives all that was told."""
        told = list(told)
        self.tell(proposer, told)
        start = sum(verb == "begin" for verb, *_ in told)
        for number in range(start, count):
            fresh = self.calls(number, proposer.propose(number))
            self.tell(proposer, fresh)
            told += fresh
        return told


@pytest.fixture(scope="session")
def lab():
    return Lab()
