"""A trial before its first step: what was asked for, and what is about to train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from automl.fidelity import FULL, Fidelity
from automl.jobs.applied_network import twin_of
from automl.models.build import SegmentationNet
from automl.models.stages import encoder_stages
from automl.records import DatasetInfo
from automl.space.declared import StepOptions
from automl.space.limits import NONE
from automl.space.parameters import TrialParameters
from automl.space.policies.policy import Policy
from automl.training.loop import Run
from automl.training.manner import AS_USUAL, Manner


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was asked for: a trial's parameters and seed, and what the experiment declares.

    `given` names the parameters that trained weights decide, where the trial begins with some.
    `policy` is what the sample makes of a declared augmentation policy; None for a built-in one.
    `steps` has what is declared of the optimizer's steps where the sample says nothing.
    """

    params: TrialParameters
    seed: int
    precision: str
    info: DatasetInfo
    fidelity: Fidelity = FULL
    manner: Manner = AS_USUAL
    given: frozenset[str] = frozenset()
    policy: Policy | None = None
    sync_batch_norm: bool = False
    steps: StepOptions

    def wanted(self, name: str) -> tuple[str, str]:
        """The key of a parameter, and what it was to be: sampled, or declared under `train`."""
        sampled = getattr(self.params, name)
        if sampled is not None:
            return name, f"sampled {sampled!r}"
        declared = getattr(self.steps, name)
        return f"train.{name}", f"declared {NONE if declared is None else declared}"


@dataclass(frozen=True)
class Live:
    """A trial before its first step: what was asked for, and what is about to train."""

    sample: Sample
    run: Run

    @property
    def params(self) -> TrialParameters:
        """The sampled parameters."""
        return self.sample.params

    @property
    def model(self) -> SegmentationNet:
        """The network that trains."""
        model = self.run.module.model
        assert isinstance(model, SegmentationNet)
        return model

    @cached_property
    def stages(self) -> Mapping[nn.Parameter, int]:
        """The stage of each of the encoder's parameters, 0 nearest to the image."""
        named = dict(self.model.encoder.named_parameters())
        stages = encoder_stages(self.model.encoder, self.sample.info.size)
        return {named[name]: stage for name, stage in stages.items()}

    @cached_property
    def twin(self) -> SegmentationNet:
        """The sampled encoder from scratch, unpruned."""
        return twin_of(self.params, self.sample.info, self.sample.seed)


@dataclass(frozen=True, slots=True)
class Proof:
    """Tells what is live instead of what was sampled, or None where they agree.

    It says nothing of use where a parameter that it `needs` is itself not proven.
    """

    find: Callable[[Live], str | None]
    needs: tuple[str, ...] = ()


def listed(values: set[float]) -> str:
    """Numbers, in order, for a message."""
    return ", ".join(f"{value:g}" for value in sorted(values))
