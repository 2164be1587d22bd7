"""What a probe has measured: how long a few networks of a space take on one place of a machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from automl.records import Measurement, Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPace:
    """One configuration; seconds of one trial alone on its machine.

    `setup_s`: building it, exporting it and timing it. `epoch_s`: an epoch on all training images
    at full size, from the steps that were timed, and `step_spread` the middle half of these as a
    share of their median. `evaluation_s`: scoring on val. `image_s`: one image in the exported
    file. `infeasible` says which constraint it breaks, and then nothing was trained.
    """

    number: int
    params: Mapping[str, Scalar]
    setup_s: float
    costs: tuple[Measurement, ...]
    image_s: float
    epoch_s: float = 0.0
    evaluation_s: float = 0.0
    step_spread: float = 0.0
    infeasible: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The paces of a few configurations, and on what they were measured.

    `process_s` is what a new process takes until it can train. `waited` is how much longer the
    work took by the clock than on the processor, where another program was in the way; the paces
    are those of the processor then. `images` counts those of train, val and test.
    """

    networks: tuple[NetworkPace, ...]
    process_s: float
    device: str
    cpu: str
    threads: int
    images: Mapping[str, int]
    waited: float = 0.0

    @property
    def feasible(self) -> tuple[NetworkPace, ...]:
        """The configurations that keep all constraints."""
        return tuple(network for network in self.networks if network.infeasible is None)
