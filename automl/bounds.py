"""Whether what was measured keeps to the constraints of a study."""

from __future__ import annotations

from collections.abc import Mapping

from automl.records import Measurement


def violations(
    constraints: Mapping[str, float], measurements: tuple[Measurement, ...]
) -> dict[str, float]:
    """By how much each measured bound is missed (measured minus bound; at most 0 is kept)."""
    return {
        measurement.metric: measurement.value - constraints[measurement.metric]
        for measurement in measurements
        if measurement.metric in constraints
    }


def broken_bounds(
    constraints: Mapping[str, float], measurements: tuple[Measurement, ...]
) -> str | None:
    """The constraints that are broken, in words; None where all hold."""
    missed = violations(constraints, measurements)
    texts = [
        f"{name} {constraints[name] + by:.4g} > {constraints[name]:g}"
        for name, by in missed.items()
        if by > 0
    ]
    return ", ".join(texts) if texts else None
