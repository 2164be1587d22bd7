"""Threads that prepare batches ahead, and what each of them has for itself."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


def prepared(make: Callable[[int], T], numbers: Sequence[int], workers: int) -> Generator[T]:
    """What `make` gives for each number, in their order, two a worker made ahead by threads.

    Without a worker each is made when it is asked for. Closing it ends the threads.
    """
    yield from map(make, numbers) if workers == 0 else _made_ahead(make, numbers, workers)


class OfEachThread:
    """A pipeline of albumentations for every thread, as one holds its random state."""

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self._local = threading.local()

    def __call__(self) -> Any:
        """The pipeline of the thread that asks."""
        if not hasattr(self._local, "pipeline"):
            self._local.pipeline = self._build()
        return self._local.pipeline


def seeded(pipeline: Any, seed: int) -> Any:
    """The pipeline with one stream of random numbers for all its transforms.

    `set_random_seed` would give each its own of the same seed, and they would all decide alike.
    """
    pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
    return pipeline


def _made_ahead(make: Callable[[int], T], numbers: Sequence[int], workers: int) -> Generator[T]:
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="automl-loader")
    try:
        for number in numbers:
            waiting.append(pool.submit(make, number))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
