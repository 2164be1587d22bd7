"""What is asked of `automl prune`, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from automl.bundle.runtimes import DEFAULT, check_runtime
from automl.compression.choice import MAX_RATIO
from automl.data.dataset import Dataset
from automl.errors import UsageError
from automl.space.pruning import PruningSettings
from automl.stages.bench_meter import told_apart
from automl.stages.claim import claim
from automl.stages.source import Source, data_for, read_source


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneRequest:
    """What the user asks for; None leaves what the network's trial had.

    `epochs` are those of the fine-tuning of each ratio, 0 for none; `min_speedup` is the least
    speed against the network before pruning in `runtime`; `timed_on` is the processor of the agent
    that times, None where this machine does.
    """

    model: Path
    data: str | None
    out: Path
    ratios: tuple[float, ...]
    how: PruningSettings
    epochs: int
    learning_rate: float | None
    min_speedup: float
    threads: int
    rounds: int
    runtime: str = DEFAULT
    timed_on: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlan:
    """A checked request."""

    request: PruneRequest
    source: Source
    dataset: Dataset


def plan_pruning(request: PruneRequest) -> PrunePlan:
    """Read the network and the data, and check all that can be checked before any work.

    Raises:
        UsageError: something of the request cannot be had, or `out` holds something else.
    """
    check_runtime(request.runtime)
    ratios = request.ratios
    if not ratios or len(set(ratios)) < len(ratios) or not all(0 < r <= MAX_RATIO for r in ratios):
        given = ",".join(f"{ratio:g}" for ratio in ratios)
        raise UsageError(
            f"--ratio: given {given}; allowed: above 0 and up to {MAX_RATIO}, each once, such as "
            "0.25,0.5"
        )
    if request.how.steps > max(1, request.epochs):
        raise UsageError(
            f"--steps: given {request.how.steps}; allowed: 1 to {max(1, request.epochs)}, an epoch "
            "of fine-tuning for each step"
        )
    source = read_source(request.model)
    dataset = data_for(source, request.data)
    claim(request.out, _asked(request, dataset), source=request.model, what="prunings")
    return PrunePlan(request=request, source=source, dataset=dataset)


def _asked(request: PruneRequest, dataset: Dataset) -> dict[str, object]:
    """All but the ratios, each of which has a folder of its own: more may be asked for later."""
    return {
        **told_apart(request.runtime, request.timed_on),
        "model": str(request.model.resolve()),
        "data": dataset.info.fingerprint,
        "how": request.how.model_dump(mode="json"),
        "epochs": request.epochs,
        "learning_rate": request.learning_rate,
        "min_speedup": request.min_speedup,
        "threads": request.threads,
        "rounds": request.rounds,
    }
