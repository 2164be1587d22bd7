"""The search in a file that Optuna and optuna-dashboard open while it runs.

    optuna-dashboard results/lightweight/optuna.log

Derived data: at each start it is made anew from what is told, and no fault in it hurts the search.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from automl.records import Objective, Scalar, TrialStatus
from automl.sampling.mirror_study import MirrorStudy
from automl.sampling.optuna_space import OptunaSpace
from automl.sampling.quiet import hush
from automl.sampling.rebuilt_log import RebuiltLog
from automl.space.search_space import SearchSpace

_log = logging.getLogger(__name__)


class OptunaMirror:
    """Writes an Optuna journal to `path`, under the name of the folder that holds it.

    Tell it the journal first, then call `publish`: the file appears whole, and follows from then
    on. After a fault (a full disk) it stays as it is, until the next start makes it anew. Times are
    those of the telling.
    """

    def __init__(self, path: Path, objectives: Sequence[Objective], space: SearchSpace) -> None:
        self._path = path
        self._is_broken = False
        self._log = RebuiltLog(path)
        hush()
        self._study = MirrorStudy(
            self._log, path.absolute().parent.name, objectives, OptunaSpace(space)
        )

    def publish(self) -> None:
        """Put what was told so far in place of the file, and append to it from now on."""
        self._guard(self._log.publish)

    def begin(self, number: int, params: Mapping[str, Scalar]) -> None:
        """A trial was proposed, and runs from now on."""
        self._guard(lambda: self._study.begin(number, params))

    def observe(self, number: int, fidelity: int, values: Sequence[float]) -> None:
        """A trial reached a fidelity; `values` are in the order of the objectives."""
        self._guard(lambda: self._study.observe(number, fidelity, values))

    def reject(self, number: int, violations: Mapping[str, float]) -> None:
        """A trial is infeasible (measured minus bound, by constraint), or failed ({})."""
        self._guard(lambda: self._study.reject(number, violations))

    def end(
        self,
        number: int,
        status: TrialStatus,
        values: Sequence[float] | None = None,
        attrs: Mapping[str, Scalar | None] | None = None,
    ) -> None:
        """A trial has ended; `attrs` (trial_id, epochs, reason) are shown beside its values."""
        shown = {} if attrs is None else attrs
        self._guard(lambda: self._study.end(number, status, values, shown))

    def _guard(self, write: Callable[[], None]) -> None:
        """Write, and give up for good on the first fault: the file must not have a gap."""
        if self._is_broken:
            return
        try:
            write()
        except Exception as error:
            self._is_broken = True
            _log.warning(
                "%s is no longer written: %s; the search does not need it, "
                "and the next start makes it anew",
                self._path,
                error,
            )
