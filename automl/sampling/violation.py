"""How far a trial misses its constraints, as Optuna takes it: at most 0 is feasible.

The share of the bound by which a value is over it makes milliseconds and megabytes comparable, and
x / (1 + x) keeps one absurd value from hiding all others. Neither depends on other trials, so what
was told once never has to be told again. Every trial gets the same keys, which GPSampler demands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

#: The constraint that a trial which crashed, or misses a bound unknown here, violates.
FAILED = "failed"

#: Of a constraint that is met by an unknown margin.
_MET = -1.0


def met(bounds: Mapping[str, float]) -> dict[str, float]:
    """The constraints of a feasible trial."""
    return dict.fromkeys((*bounds, FAILED), _MET)


def missed(bounds: Mapping[str, float], violations: Mapping[str, float]) -> dict[str, float]:
    """The constraints of a trial that misses some (measured minus bound), or failed ({}).

    A failure outweighs every violation: it says nothing about how near the trial came.
    """
    shares = {
        name: _share(violations[name] / bound) if name in violations else _MET
        for name, bound in bounds.items()
    }
    is_explained = any(share > 0 for share in shares.values())
    return {**shares, FAILED: _MET if is_explained else float(max(1, len(bounds)))}


def _share(ratio: float) -> float:
    if math.isnan(ratio):
        return _MET
    return 1.0 - 1.0 / (1.0 + ratio) if ratio > 0 else max(_MET, ratio)
