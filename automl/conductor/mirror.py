"""Who is shown the search beside the sampler: a file for dashboards, or nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from automl.records import Scalar, TrialStatus


class Mirror(Protocol):
    """Is told what the sampler is told, and every end; first the journal's, then `publish`."""

    def begin(self, number: int, params: Mapping[str, Scalar]) -> None:
        """A trial runs."""

    def observe(self, number: int, fidelity: int, values: Sequence[float]) -> None:
        """A trial reached a fidelity."""

    def reject(self, number: int, violations: Mapping[str, float]) -> None:
        """A trial is infeasible, or failed ({})."""

    def end(
        self,
        number: int,
        status: TrialStatus,
        values: Sequence[float] | None = None,
        attrs: Mapping[str, Scalar | None] | None = None,
    ) -> None:
        """A trial has ended."""

    def publish(self) -> None:
        """All that an earlier run left was told."""


class NoMirror:
    """Shows nothing."""

    def begin(self, number: int, params: Mapping[str, Scalar]) -> None:
        """Nothing."""

    def observe(self, number: int, fidelity: int, values: Sequence[float]) -> None:
        """Nothing."""

    def reject(self, number: int, violations: Mapping[str, float]) -> None:
        """Nothing."""

    def end(
        self,
        number: int,
        status: TrialStatus,
        values: Sequence[float] | None = None,
        attrs: Mapping[str, Scalar | None] | None = None,
    ) -> None:
        """Nothing."""

    def publish(self) -> None:
        """Nothing."""
