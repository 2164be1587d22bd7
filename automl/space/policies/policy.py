"""A policy with a value for everything: what a trial augments with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from automl.space.policies.transforms import TRANSFORMS


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One transform: its kind, its probability, and how far each of its settings goes.

    `settings` are pairs, so that a step can be hashed. Raises ValueError for a kind or a setting
    that does not exist, or is missing.
    """

    kind: str
    p: float
    settings: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in TRANSFORMS:
            raise ValueError(f"kind must be one of {', '.join(TRANSFORMS)}, got {self.kind!r}")
        wanted = list(TRANSFORMS[self.kind].settings)
        if [name for name, _ in self.settings] != wanted:
            raise ValueError(f"settings of {self.kind} must be {wanted}, got {self.settings}")

    @property
    def values(self) -> Mapping[str, float]:
        """The settings by name."""
        return dict(self.settings)

    @property
    def changes_nothing(self) -> bool:
        """Whether all settings are 0."""
        return bool(self.settings) and not any(value for _, value in self.settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Named transforms, applied in this order."""

    name: str
    steps: tuple[Step, ...]
