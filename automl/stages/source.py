"""A trained network to go on from, with all that training it further takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from automl.data.dataset import Dataset
from automl.data.importing import cached_for_network
from automl.data.letterbox import Frame
from automl.errors import SpaceError, UsageError
from automl.jobs.settings import fit_settings
from automl.jobs.trained import rebuilt
from automl.models.build import SegmentationNet
from automl.records import Normalisation, Scalar
from automl.resize import Resize
from automl.space.experiment import Experiment
from automl.space.parameters import TrialParameters, parameters_from
from automl.stages.starting_point import starting_point
from automl.training.settings import FitSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a path names. `sample` has the parameters of its trial, those of a policy included."""

    name: str
    path: Path
    model: SegmentationNet
    sample: Mapping[str, Scalar]
    normalisation: Normalisation
    experiment: Experiment
    classes: tuple[str, ...]
    size: tuple[int, int]
    resize: Resize

    @property
    def params(self) -> TrialParameters:
        """The parameters of its trial; all layers train from the first epoch on, without heads."""
        return replace(parameters_from(self.sample), deep_supervision=0.0, freeze_epochs=0)

    @property
    def seeds(self) -> dict[str, int]:
        """The seeds that a bundle of it tells."""
        experiment = self.experiment
        return {"study": experiment.search.seed, "split": experiment.data.split_seed}

    def settings(self, *, epochs: int, learning_rate: float | None, seed: int) -> FitSettings:
        """Trained as it was, but for these."""
        settings = fit_settings(
            self.params,
            self.experiment.train,
            normalisation=self.normalisation,
            seed=seed,
            epochs=epochs,
            learning_rate=learning_rate,
        )
        policy = self.experiment.policy(self.sample)
        return settings if policy is None else replace(settings, augmentation=policy)


def read_source(given: Path) -> Source:
    """The network that a path names (see `starting_point`); raises UsageError."""
    record, state = starting_point(given)
    try:
        experiment = Experiment.from_json(record.experiment)
    except SpaceError as error:
        raise UsageError(
            f"{given}: this version of automl does not know its experiment:\n{error}"
        ) from error
    return Source(
        name=record.name,
        path=given,
        model=rebuilt(record, state),
        sample=record.params,
        normalisation=record.normalisation,
        experiment=experiment,
        classes=record.dataset.classes,
        size=record.dataset.size,
        resize=record.dataset.resize,
    )


def data_for(source: Source, data: str | None) -> Dataset:
    """The data to work on, at the network's size; None is where its own came from.

    Raises DataError where it cannot be read, or has classes that the network does not know.
    """
    wanted = source.experiment.data.source if data is None else data
    split_seed = source.experiment.data.split_seed
    frame = Frame(source.size, source.resize)
    return cached_for_network(wanted, frame, source.classes, split_seed=split_seed)
