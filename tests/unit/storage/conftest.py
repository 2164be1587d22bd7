"""A store in memory that fails by plan."""

from collections.abc import Callable, Iterable, Iterator

import pytest

from automl.storage.objects import MemoryObjects, TransientError
from automl.storage.reliable import Patience, Reliable

#: What may become of a request: it is lost on its way, or its answer is; half of what is written
#: or read arrives.
FAULTS = ("lost", "unanswered", "half")


class FaultyObjects:
    """Passes requests on, each as the next word of `plan` says; None and the end are no fault."""

    def __init__(self, inner, plan=()) -> None:
        self.inner = inner
        self.plan = list(plan)
        self.requests = 0

    def _next(self):
        self.requests += 1
        fault = self.plan.pop(0) if self.plan else None
        if fault == "lost":
            raise TransientError("connection timed out")
        return fault

    def _answered(self, fault) -> None:
        if fault == "unanswered":
            raise TransientError("500 Internal Server Error")

    def write(self, key: str, chunks: Iterable[bytes]) -> None:
        fault = self._next()
        content = b"".join(chunks)
        if fault == "half":
            content = content[: len(content) // 2]
        self.inner.write(key, iter([content]))
        self._answered(fault)

    def read(self, key: str) -> Iterator[bytes]:
        fault = self._next()
        for chunk in self.inner.read(key):
            yield chunk[: len(chunk) // 2] if fault == "half" else chunk
        self._answered(fault)

    def state(self, key: str):
        fault = self._next()
        found = self.inner.state(key)
        self._answered(fault)
        return found

    def entries(self, prefix: str):
        fault = self._next()
        found = self.inner.entries(prefix)
        self._answered(fault)
        return found

    def delete(self, key: str) -> None:
        fault = self._next()
        self.inner.delete(key)
        self._answered(fault)


class Time:
    """A clock that sleeping moves on; one for a process and its store alike."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(scope="session")
def faulty() -> type[FaultyObjects]:
    return FaultyObjects


@pytest.fixture(scope="session")
def new_time() -> type[Time]:
    return Time


@pytest.fixture(scope="session")
def store_of() -> Callable[..., Reliable]:
    """A store over these objects, which gives up after `seconds`."""

    def make(objects, seconds: float = 60.0) -> Reliable:
        time = Time()
        return Reliable("s3://b/study", objects, Patience(seconds, time, time.sleep, lambda: 0.5))

    return make


@pytest.fixture
def memory() -> MemoryObjects:
    return MemoryObjects(clock=Time())
