"""Configurations that learn from nothing: spread evenly, at random, or whichever is left."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator
from functools import lru_cache

import numpy as np

from automl.records import Scalar, canonical_json
from automl.space.domains import Choice, Domain, IntRange
from automl.space.search_space import SearchSpace

Params = dict[str, Scalar]

#: One unit in the last place below 1: the resolution of a coordinate.
_RESOLUTION = 2.0**-53


def spread_point(space: SearchSpace, index: int, *, seed: int) -> Params:
    """Point `index` of a low-discrepancy sequence over the searched parameters."""
    names = space.searched
    units = {name: halton(index, i, seed=seed) for i, name in enumerate(names)}
    return space.assign(lambda name, domain: domain.at(units.get(name, 0.0)))


def random_point(space: SearchSpace, rng: np.random.Generator) -> Params:
    """Any configuration, each parameter even over its range."""
    units = dict(zip(space.searched, rng.random(len(space.searched)).tolist(), strict=True))
    return space.assign(lambda name, domain: domain.at(units.get(name, 0.0)))


def halton(index: int, dimension: int, *, seed: int) -> float:
    """Coordinate `dimension` of point `index` of a randomised Halton sequence, in [0, 1).

    Each digit is permuted at random, by level and dimension, which keeps the sequence evenly
    spread and breaks the correlation between high dimensions. Source: Owen 2017, "A randomized
    Halton algorithm in R".
    """
    permutations = _permutations(seed, dimension)
    base = len(permutations[0])
    unit, weight = 0.0, 1.0 / base
    for permutation in permutations:
        index, digit = divmod(index, base)
        unit += weight * permutation[digit]
        weight /= base
    return min(unit, 1.0 - _RESOLUTION)


@lru_cache(maxsize=256)
def _permutations(seed: int, dimension: int) -> tuple[tuple[int, ...], ...]:
    """One permutation of the digits for each level down to the resolution."""
    base = _prime(dimension)
    rng = np.random.default_rng((seed, dimension))
    levels = []
    weight = 1.0 / base
    while weight > _RESOLUTION:
        levels.append(tuple(rng.permutation(base).tolist()))
        weight /= base
    return tuple(levels)


def _prime(index: int) -> int:
    numbers = (n for n in itertools.count(2) if all(n % d for d in range(2, int(n**0.5) + 1)))
    return next(itertools.islice(numbers, index, None))


class Leftovers:
    """Finds a configuration of a finite space that was not tried, in a fixed order.

    What was tried stays tried, so the search goes on where it ended: all searches together cost
    one walk through the space.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._walk = _configurations(space) if space.size is not None else iter(())
        self._next: Params | None = next(self._walk, None)

    def first(self, tried: Container[str]) -> Params | None:
        """The first configuration whose canonical JSON is not in `tried`; None where none is."""
        while self._next is not None and canonical_json(self._next) in tried:
            self._next = next(self._walk, None)
        return self._next


def _configurations(space: SearchSpace) -> Iterator[Params]:
    """Every configuration once: an odometer whose digits are the active parameters' options."""
    digits: list[int] = []
    while True:
        sizes: list[int] = []
        chosen = iter(digits)

        def turn(
            _: str, domain: Domain, sizes: list[int] = sizes, chosen: Iterator[int] = chosen
        ) -> Scalar:
            sizes.append(domain.size if domain.size is not None else 1)
            return _option(domain, next(chosen, 0))

        yield space.assign(turn)
        digits = _advance(digits, sizes)
        if not digits:
            return


def _advance(digits: list[int], sizes: list[int]) -> list[int]:
    """The digits one step on, least significant last; [] after the last one."""
    full = [*digits, *[0] * (len(sizes) - len(digits))]
    while full and full[-1] + 1 >= sizes[len(full) - 1]:
        full.pop()
    return [*full[:-1], full[-1] + 1] if full else []


def _option(domain: Domain, index: int) -> Scalar:
    if isinstance(domain, Choice):
        return domain.options[index]
    assert isinstance(domain, IntRange), "only a finite space has configurations to count"
    return domain.low + domain.step * index
