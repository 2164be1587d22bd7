"""A discrete-event simulation of a search: the scheduling is real, only time passes by itself.

What decides is a `Search`: the study's own `Conductor`, or whatever is compared with it. Trials
follow their scripts, report as real ones do (one that goes on tells its costs and its last epoch
again), and lose the epoch in flight where their node is lost.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from automl.records import TrialConfig, TrialMessage, TrialStatus, Verdict
from automl.simulation.script import Crew, NodeSpan, Outcome, Scripts, TrialScript

Kind = Literal["costs", "epoch", "end"]


class Search(Protocol):
    """Decides what runs next, and which trials go on."""

    def next_trial(self) -> TrialConfig | None:
        """The next trial to run; None for nothing now."""

    def handle(self, trial_id: str, message: TrialMessage) -> Verdict:
        """Take a report."""


@dataclass(slots=True)
class SimulatedClock:
    """The time of a simulation, in seconds; a `Clock` of the conductor."""

    now: float = 0.0

    def __call__(self) -> float:
        """The time now."""
        return self.now


def simulate(
    search: Search,
    scripts: Scripts,
    crew: Crew,
    *,
    clock: SimulatedClock,
    rng: np.random.Generator,
) -> Outcome:
    """Run a search to its end; `rng` draws the lives of the nodes.

    `clock` must be the one that `search` reads. Raises ValueError where nodes die so fast that no
    epoch comes to its end.
    """
    return _Simulation(search, scripts, crew, clock, rng).run()


@dataclass(slots=True, eq=False)
class _Node:
    asked_s: float
    up_s: float = 0.0
    last_used_s: float = 0.0
    is_up: bool = False


@dataclass(slots=True, eq=False)
class _Place:
    """Room for one trial on a node."""

    node: _Node
    is_warm: bool = False


@dataclass(slots=True, eq=False)
class _Attempt:
    """A trial at work in a place: since when it has the place, since when its own seconds count.

    They do so once its process has started. `since_s` is when the work in flight began.
    """

    config: TrialConfig
    script: TrialScript
    place: _Place
    taken_s: float
    counts_s: float
    since_s: float
    epoch: int
    is_alive: bool = True


#: A node that is lost so many times in a row without an epoch in between never gets anywhere.
_FUTILE_LOSSES = 1000


class _Simulation:
    def __init__(
        self,
        search: Search,
        scripts: Scripts,
        crew: Crew,
        clock: SimulatedClock,
        rng: np.random.Generator,
    ) -> None:
        self._search, self._scripts, self._crew = search, scripts, crew
        self._clock, self._rng = clock, rng
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._idle: deque[_Place] = deque()
        self._orphans: deque[TrialConfig] = deque()
        self._attempts: list[_Attempt] = []
        self._done: dict[str, int] = {}
        self._spans: list[NodeSpan] = []
        self._nodes: list[_Node] = []
        self._busy_s = self._lost_s = self._trial_s = 0.0
        self._epochs: Counter[int] = Counter()
        self._futile_losses = 0
        everywhere = crew.nodes * crew.places
        self._most_trials = everywhere if crew.most_trials is None else crew.most_trials
        self._is_over = False

    def run(self) -> Outcome:
        for _ in range(self._crew.nodes):
            self._ask_for_node()
        while not self._is_over:
            self._clock.now, _, event = heapq.heappop(self._events)
            event()
            self._fill_places()
        for node in self._nodes:
            self._end_of(node, was_lost=False)
        return Outcome(
            makespan_s=self._clock.now,
            busy_s=self._busy_s,
            lost_s=self._lost_s,
            present_s=self._crew.places
            * sum(max(0.0, span.ended_s - span.up_s) for span in self._spans),
            trial_s=self._trial_s,
            epochs_by_number=dict(self._epochs),
            spans=tuple(self._spans),
        )

    def _after(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self._clock.now + seconds, next(self._order), event))

    # ------------------------------------------------------------------ nodes

    def _ask_for_node(self) -> None:
        node = _Node(asked_s=self._clock.now)
        self._nodes.append(node)
        self._after(self._crew.node_start_s, lambda: self._come_up(node))

    def _come_up(self, node: _Node) -> None:
        node.is_up, node.up_s, node.last_used_s = True, self._clock.now, self._clock.now
        self._idle.extend(_Place(node) for _ in range(self._crew.places))
        if self._crew.mean_life_s is not None:
            life_s = float(self._rng.exponential(self._crew.mean_life_s))
            self._after(life_s, lambda: self._lose(node))

    def _lose(self, node: _Node) -> None:
        self._futile_losses += 1
        if self._futile_losses > _FUTILE_LOSSES:
            raise ValueError(
                f"nodes that live {self._crew.mean_life_s:g} s on average are lost before an "
                "epoch ends: no search comes to its end on them"
            )
        for attempt in [a for a in self._attempts if a.place.node is node]:
            self._lost_s += self._clock.now - attempt.since_s
            self._leave(attempt)
            self._orphans.append(attempt.config)
        self._idle = deque(place for place in self._idle if place.node is not node)
        self._end_of(node, was_lost=True)
        self._nodes.remove(node)
        self._ask_for_node()

    def _end_of(self, node: _Node, *, was_lost: bool) -> None:
        now = self._clock.now
        self._spans.append(
            NodeSpan(
                asked_s=node.asked_s,
                up_s=node.up_s if node.is_up else now,
                last_used_s=node.last_used_s if node.is_up else now,
                ended_s=now,
                was_lost=was_lost,
            )
        )

    # ------------------------------------------------------------------ trials

    def _fill_places(self) -> None:
        while self._idle and len(self._attempts) < self._most_trials:
            config = self._orphans.popleft() if self._orphans else self._search.next_trial()
            if config is None:
                self._is_over = not self._attempts
                return
            self._begin(config, self._idle.popleft())

    def _begin(self, config: TrialConfig, place: _Place) -> None:
        script, epoch = self._scripts(config), self._done.get(config.trial_id, 0)
        now = self._clock.now
        process_s = 0.0 if place.is_warm else self._crew.process_start_s
        place.is_warm = True
        attempt = _Attempt(config, script, place, now, now + process_s, now, epoch)
        self._attempts.append(attempt)
        wait_s = process_s + (script.resume_s if epoch else script.setup_s)
        self._after(wait_s, lambda: self._tell_costs(attempt))

    def _tell_costs(self, attempt: _Attempt) -> None:
        if not attempt.is_alive:
            return
        attempt.since_s = self._clock.now
        self._tell(attempt, "costs")
        if attempt.script.infeasible is not None:
            self._end(attempt, TrialStatus.INFEASIBLE)
        elif attempt.epoch and self._tell(attempt, "epoch") is not Verdict.CONTINUE:
            self._leave(attempt)
        else:
            self._train(attempt)

    def _train(self, attempt: _Attempt) -> None:
        if attempt.epoch == len(attempt.script.epoch_s):
            self._end(attempt, TrialStatus.COMPLETED)
            return
        seconds = attempt.script.epoch_s[attempt.epoch]
        self._after(seconds, lambda: self._finish_epoch(attempt))

    def _finish_epoch(self, attempt: _Attempt) -> None:
        if not attempt.is_alive:
            return
        attempt.since_s = self._clock.now
        attempt.epoch += 1
        self._done[attempt.config.trial_id] = attempt.epoch
        self._epochs[attempt.epoch] += 1
        self._futile_losses = 0
        if self._tell(attempt, "epoch") is Verdict.CONTINUE:
            self._train(attempt)
        else:
            self._leave(attempt)

    def _end(self, attempt: _Attempt, status: TrialStatus) -> None:
        self._tell(attempt, "end", status)
        self._leave(attempt)

    def _leave(self, attempt: _Attempt) -> None:
        """The place is free; what it did counts up to now."""
        now = self._clock.now
        attempt.is_alive = False
        self._attempts.remove(attempt)
        self._busy_s += now - attempt.taken_s
        self._trial_s += max(0.0, attempt.since_s - attempt.counts_s)
        attempt.place.node.last_used_s = now
        self._idle.append(attempt.place)

    def _tell(self, attempt: _Attempt, kind: Kind, status: TrialStatus | None = None) -> Verdict:
        script, is_epoch = attempt.script, kind == "epoch"
        message = TrialMessage(
            kind=kind,
            seconds=self._clock.now - attempt.counts_s,
            epoch=attempt.epoch if is_epoch else 0,
            metrics=script.metrics[attempt.epoch - 1] if is_epoch else {},
            measurements=script.costs if kind == "costs" else (),
            status=status,
            reason=script.infeasible if kind == "end" else None,
        )
        return self._search.handle(attempt.config.trial_id, message)
