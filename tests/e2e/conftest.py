"""What tests do to clusters that run."""

import time
from collections.abc import Callable

import pytest

Drain = Callable[[str, float], None]
Until = Callable[[Callable[[], bool], float], None]


@pytest.fixture
def drain() -> Drain:
    """Does what `ray drain-node --reason DRAIN_NODE_REASON_PREEMPTION` does."""

    def drain_node(node_id: str, seconds: float) -> None:
        from ray._private.worker import global_worker

        preemption = 2
        deadline_ms = int((time.time() + seconds) * 1000)
        accepted, why = global_worker.gcs_client.drain_node(
            node_id, preemption, "a spot machine", deadline_ms
        )
        assert accepted, why

    return drain_node


@pytest.fixture
def until() -> Until:
    """Waits until something has happened, and fails after so many seconds."""

    def wait(happened: Callable[[], bool], longest_s: float) -> None:
        deadline = time.monotonic() + longest_s
        while not happened():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    return wait
