"""One trial trained by a group of workers: DDP on Ray Train, seen from Tune as one function.

The workers talk to the trial through two queues, and a verdict travels the same way back, so
that a group which is told to stop ends by itself and frees its workers as after a full run. So
does one that is to leave a node.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

import ray.train
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.queue import Empty, Queue

from automl.distributed.devices import trains_on_gpu
from automl.distributed.moving import NODE_KEY, one_is_leaving, tell_that_it_moves, this_node
from automl.errors import TrialError
from automl.jobs.context import torch_threads
from automl.jobs.trial import TrialRun, train_in_this_process
from automl.records import (
    TrialConfig,
    TrialMessage,
    Verdict,
    from_json,
    to_json,
)
from automl.training.ranks import global_rank

_POLL_S = 0.2
#: A worker's first message: its rank and its node.
_RANK_KEY = "rank"


class _Outcome(Enum):
    """How a group ends: by itself, by a verdict, or to go on elsewhere."""

    ENDED = auto()
    STOPPED = auto()
    MOVES = auto()


@dataclass(frozen=True, slots=True)
class QueueReporter:
    """Global rank 0's line to the trial; the other ranks hear the verdict from rank 0, in `fit`."""

    messages: Queue
    verdicts: Queue

    def report(self, config: TrialConfig, message: TrialMessage) -> Verdict:
        """Send one message and wait for the verdict."""
        if global_rank() != 0:
            return Verdict.CONTINUE
        self.messages.put(to_json(message))
        while True:
            epoch, verdict = self.verdicts.get()
            # A worker that died while it waited has left the verdict on its own message behind.
            if epoch == message.epoch:
                return Verdict(verdict)


def _train_on_worker(loop_config: Mapping[str, Any]) -> None:
    given: TrialRun = loop_config["run"]
    run = replace(given, context=given.context.here())
    run.bring()
    loop_config["messages"].put({_RANK_KEY: global_rank(), NODE_KEY: this_node()})
    with torch_threads(run.context.threads):
        train_in_this_process(run)


def train_in_worker_group(run: TrialRun) -> bool:
    """Train one trial with `train.workers` processes; True if it was stopped, or moves elsewhere.

    Raises:
        TrialError: the group failed more often than `search.max_failures` allows.
    """
    options = {"num_cpus": 0}
    reporter = QueueReporter(Queue(actor_options=options), Queue(actor_options=options))
    trainer = _trainer(run, reporter)
    faults: list[BaseException] = []
    thread = threading.Thread(target=_fit, args=(trainer, faults), daemon=True)
    thread.start()
    try:
        outcome = _forward(run, reporter, thread)
    finally:
        reporter.messages.shutdown(force=True)
        reporter.verdicts.shutdown(force=True)
    if faults:
        raise TrialError(f"the worker group failed: {faults[0]}") from faults[0]
    if outcome is _Outcome.MOVES:
        tell_that_it_moves()
    return outcome is not _Outcome.ENDED


def _trainer(run: TrialRun, reporter: QueueReporter) -> TorchTrainer:
    experiment = run.context.experiment
    on_gpu = trains_on_gpu(experiment.train)
    return TorchTrainer(
        _train_on_worker,
        train_loop_config={
            "run": replace(run, reporter=reporter),
            "messages": reporter.messages,
        },
        torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=experiment.train.workers,
            use_gpu=on_gpu,
            resources_per_worker={"CPU": run.context.threads},
            placement_strategy=experiment.train.placement.upper(),
        ),
        run_config=ray.train.RunConfig(
            # Ray resumes a run of the same name from a snapshot of its own; ours is the truth.
            name=f"{run.config.trial_id}-{uuid.uuid4().hex[:8]}",
            storage_path=str(run.context.folder.ray / "train"),
            failure_config=ray.train.FailureConfig(max_failures=experiment.search.max_failures),
        ),
    )


def _fit(trainer: TorchTrainer, faults: list[BaseException]) -> None:
    try:
        trainer.fit()
    except Exception as fault:
        faults.append(fault)


def _forward(run: TrialRun, reporter: QueueReporter, thread: threading.Thread) -> _Outcome:
    """Pass messages to the study, and its verdicts back, until the group has ended."""
    outcome = _Outcome.ENDED
    #: Where each rank is, and this process under no rank.
    nodes = {None: this_node()}
    while thread.is_alive():
        try:
            plain = reporter.messages.get(timeout=_POLL_S)
        except Empty:
            continue
        if NODE_KEY in plain:
            nodes[plain[_RANK_KEY]] = plain[NODE_KEY]
            continue
        message = from_json(TrialMessage, plain)
        verdict = run.tell(message)
        if verdict is not Verdict.CONTINUE:
            outcome = _Outcome.STOPPED
        elif one_is_leaving(nodes.values()):
            # To the group it is a pause: all ranks end, their checkpoint behind them.
            outcome, verdict = _Outcome.MOVES, Verdict.PAUSE
        else:
            outcome = _Outcome.ENDED
        reporter.verdicts.put((message.epoch, verdict.value))
    return outcome
