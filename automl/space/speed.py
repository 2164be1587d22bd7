"""What of `train` is for speed and for repeatable bits."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import PlainValidator, WithJsonSchema

from automl.space.faults import wrong_value
from automl.space.pydantic_faults import raise_faults
from automl.space.strict import Settings

_LOADERS = ("auto", "fastest")


def _loader_workers(raw: Any) -> Literal["auto", "fastest"] | int:
    if raw == "auto" or raw == "fastest":  # noqa: PLR1714  narrows the type
        found: Literal["auto", "fastest"] = raw
        return found
    if isinstance(raw, bool) or not isinstance(raw, int) or raw < 0:
        raise_faults(
            [wrong_value((), raw, "auto, fastest, or a whole number >= 0", list(_LOADERS))]
        )
    return raw


LoaderWorkers = Annotated[
    Literal["auto", "fastest"] | int,
    PlainValidator(_loader_workers),
    WithJsonSchema(
        {
            "anyOf": [{"enum": list(_LOADERS)}, {"type": "integer", "minimum": 0}],
            "description": "Threads of a trial that make batches ahead. auto: on CUDA as many as "
            "the trial has CPUs, on a CPU none; fastest: as many as the time of a batch and that "
            "of a step ask for. What batches hold does not depend on it.",
        }
    ),
]


class SpeedSettings(Settings):
    """How trials get faster; how their bits repeat."""

    compile: bool = False
    """Have torch.compile make kernels of each trial's network; where it cannot, the trial says so
    and trains without."""
    loader_workers: LoaderWorkers = "auto"
    deterministic: bool = False
    """Let no operation run on CUDA that may add in another order each time: one without a
    repeatable form fails the trial by its name. On a CPU results repeat anyway."""


#: Settings that earlier versions had not, and what they did: studies of theirs go on.
SPEED_BEFORE: Mapping[str, Any] = MappingProxyType({"compile": False, "deterministic": False})
