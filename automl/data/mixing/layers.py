"""The mixes of one global batch, one on top of the other.

All is drawn from the seed, the epoch, the number of the batch and the place in it, so every process
makes the same of the same global batch, whichever places it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from automl.data.mixing.classmix import classmix
from automl.data.mixing.copy_paste import CopyPaste
from automl.data.mixing.cutmix import cutmix
from automl.data.mixing.mixup import mixup, mixup_share
from automl.data.mixing.sample import Mix, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What mixes know: the pictures' (height, width), and the classes to paste, rarest first."""

    size: tuple[int, int]
    classes: Callable[[], tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A mix as it is applied to one batch: who mixes with whom, and how.

    `share` is what mixup leaves of a sample; 1 for all other mixes.
    """

    mix: Mix
    partners: npt.NDArray[np.int64]
    stream: Callable[[int], np.random.Generator]
    share: float


@dataclass(frozen=True, slots=True)
class _Kind:
    """A mix: what tells its stream apart from others, and how it is drawn for a batch."""

    stream: int
    draw: Callable[[np.random.Generator, Ground], tuple[Mix, float]]


def _mixup(rng: np.random.Generator, _ground: Ground) -> tuple[Mix, float]:
    share = mixup_share(rng)
    return mixup(share), share


#: In the order in which they are applied. Mixup is last: what it makes has two masks.
MIXES: Mapping[str, _Kind] = MappingProxyType(
    {
        "copy_paste": _Kind(3, lambda _rng, ground: (CopyPaste(ground.classes()), 1.0)),
        "classmix": _Kind(4, lambda _rng, _ground: (classmix, 1.0)),
        "cutmix": _Kind(2, lambda rng, ground: (cutmix(rng, ground.size), 1.0)),
        "mixup": _Kind(5, _mixup),
    }
)


def stream_of(name: str) -> int:
    """The number that tells a mix's stream of random numbers apart from the others of an epoch."""
    return MIXES[name].stream


def layer(
    name: str,
    rng: np.random.Generator,
    ground: Ground,
    places: int,
    stream: Callable[[int], np.random.Generator],
) -> Layer:
    """Draw a mix for a global batch of so many places; `stream` is that of each place."""
    partners = rng.permutation(places)
    mix, share = MIXES[name].draw(rng, ground)
    return Layer(mix=mix, partners=partners, stream=stream, share=share)


def mixed(
    layers: Sequence[Layer], places: Sequence[int], sample: Callable[[int], Sample]
) -> list[Sample]:
    """The samples at some places after all layers; each sample is loaded and mixed once."""
    made: dict[tuple[int, int], Sample] = {}

    def after(depth: int, place: int) -> Sample:
        if (depth, place) not in made:
            made[depth, place] = _after(layers[depth - 1], depth, place) if depth else sample(place)
        return made[depth, place]

    def _after(layer: Layer, depth: int, place: int) -> Sample:
        partner = int(layer.partners[place])
        own, other = after(depth - 1, place), after(depth - 1, partner)
        return layer.mix(own, other, layer.stream(place))

    return [after(len(layers), place) for place in places]
