"""What a search of a function found."""

from __future__ import annotations

from dataclasses import dataclass

from automl.ranking import pareto_front
from automl.records import Objective, TrialResult


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """Every trial in the order of proposal, and the epochs of all of them together."""

    objectives: tuple[Objective, ...]
    trials: tuple[TrialResult, ...]
    epochs: int

    @property
    def front(self) -> tuple[TrialResult, ...]:
        """The trials that no other one beats in every objective, the best in the first one first.

        Compared by what each gave last, also where it waits at a rung.
        """
        judged = [(trial, losses) for trial in self.trials if (losses := self._losses(trial))]
        order = pareto_front([losses for _, losses in judged]) if judged else []
        return tuple(judged[i][0] for i in sorted(order, key=lambda i: judged[i][1]))

    @property
    def best(self) -> TrialResult | None:
        """The trial that is best in the first objective; None where none gave a value."""
        return next(iter(self.front), None)

    def _losses(self, trial: TrialResult) -> list[float] | None:
        values = [trial.value(objective.metric) for objective in self.objectives]
        if not trial.epochs or None in values:
            return None
        return [o.loss(v) for o, v in zip(self.objectives, values, strict=True) if v is not None]
