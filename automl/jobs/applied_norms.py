"""The proof that batch norms see the whole batch, or a worker's part of it, as was declared."""

from __future__ import annotations

from torch import nn

from automl.training.ranks import world_size
from automl.training.synchronised import batch_norms, unsynchronised_norms


def norm_faults(model: nn.Module, *, declared: bool) -> dict[str, str]:
    """What is live instead, by the declared key; every worker calls it, inside of `prepared`.

    One worker has the whole batch either way.
    """
    if world_size() == 1:
        return {}
    alone, norms = unsynchronised_norms(model), batch_norms(model)
    if len(alone) == (0 if declared else len(norms)):
        return {}
    told = f"{len(alone)} of {len(norms)} batch norms see one worker's part of the batch alone"
    return {"train.sync_batch_norm": f"declared {declared}, live {told}"}
