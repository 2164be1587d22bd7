"""Learning rate over the steps of a run."""

from __future__ import annotations

import math

#: The cosine ends at this share of the peak learning rate.
FINAL_FACTOR = 0.01


def lr_factor(step: int, total_steps: int, warmup_steps: int) -> float:
    """The factor of the peak learning rate at `step`, counted from 0.

    It rises linearly over `warmup_steps` (step 0 already learns: 1 / warmup_steps), then falls on
    half a cosine to `FINAL_FACTOR` at the last step. Source: Goyal et al. 2017 (arXiv:1706.02677),
    section 2.2, for the warm-up; Loshchilov & Hutter 2017 (arXiv:1608.03983), eq. 5, one period.
    Raises ValueError for a step outside 0 to total_steps - 1 or a negative warm-up.
    """
    if not 0 <= step < total_steps:
        raise ValueError(f"step must be within 0 to {total_steps - 1}, got {step}")
    if warmup_steps < 0:
        raise ValueError(f"warmup_steps must be at least 0, got {warmup_steps}")
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - 1 - warmup_steps)
    return FINAL_FACTOR + (1 - FINAL_FACTOR) * 0.5 * (1 + math.cos(math.pi * progress))
