"""A bundle behind HTTP, on Ray Serve: one replica, whose answers are those of `bundle.service`."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from automl.bundle import service
from automl.bundle.service import Answer, Limits, Refusal
from automl.bundle.serving import BatchedModel
from automl.distributed.connection import connected
from automl.distributed.service_metrics import ServiceMetrics
from automl.errors import UsageError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_NAME = "automl"
#: How long an image waits for others to share its run.
_WAIT_S = 0.005
#: How long those that are being answered have when the server stops.
_GRACE_S = 20.0
#: What Ray Serve may take besides to say that they have ended.
_MARGIN_S = 10.0
_QUIET = {"log_level": "ERROR", "enable_access_log": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """What is served where; `max_waiting` requests may wait, further ones are sent away."""

    bundle: Path
    host: str
    port: int
    limits: Limits
    threads: int
    batch: int
    max_waiting: int

    @property
    def url(self) -> str:
        """Where it listens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def queue(self) -> dict[str, int]:
        """How many requests are answered at a time and how many wait, as Ray Serve names it."""
        return {
            "max_ongoing_requests": max(2 * self.batch, 4),
            "max_queued_requests": self.max_waiting,
        }


class BundleServer:
    """The replica: reads requests, gathers images, and answers."""

    def __init__(self, settings: ServeSettings) -> None:
        from ray import serve  # noqa: PLC0415

        self._limits = settings.limits
        self._model = BatchedModel.load(
            settings.bundle, threads=settings.threads, batch=settings.batch
        )
        self._metrics = ServiceMetrics()
        gather = serve.batch(max_batch_size=settings.batch, batch_wait_timeout_s=_WAIT_S)
        self._predicted = gather(self._predict)

    async def __call__(self, request: Request) -> Response:
        """Answer a request."""
        from starlette.responses import Response  # noqa: PLC0415

        try:
            answer = await self._answer(request)
        except Refusal as refusal:
            answer = service.refused(refusal)
        if request.url.path == service.PREDICT:
            self._metrics.on_request(answer.status)
        return Response(answer.content, answer.status, media_type=answer.media_type)

    async def _answer(self, request: Request) -> Answer:
        path = request.url.path
        service.check(request.method, path, request.headers, self._limits)
        if path == service.HEALTH:
            return Answer(200, service.JSON, b'{"status": "ok"}\n')
        if path == service.METRICS:
            return Answer(200, ServiceMetrics.media_type, self._metrics.text())
        wanted = service.media_type(request.query_params, request.headers.get("accept", ""))
        content = await self._content(request)
        image_hwc = await asyncio.to_thread(service.decoded, content, self._limits)
        start = time.perf_counter()
        mask_hw = await self._predicted(image_hwc)
        milliseconds = (time.perf_counter() - start) * 1e3
        return await asyncio.to_thread(
            service.answered, mask_hw, self._model.manifest, wanted, milliseconds
        )

    async def _content(self, request: Request) -> bytes:
        """What a request carries; reading ends where it is too much, whatever its head says."""
        content = bytearray()
        async for part in request.stream():
            content += part
            service.check_size(len(content), self._limits)
        return bytes(content)

    async def _predict(self, images: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        start = time.perf_counter()
        masks = await asyncio.to_thread(self._model.predict, images)
        self._metrics.on_batch(len(images), time.perf_counter() - start)
        return masks


@contextmanager
def served(settings: ServeSettings) -> Iterator[None]:
    """Serve within the block; those that are being answered are answered to the end.

    Raises UsageError where the extra is missing or the port is taken.
    """
    _check_port(settings)
    # Ray's workers are nice to all else on a machine; whoever waits for an answer is not.
    os.environ.setdefault("RAY_worker_niceness", "0")
    with connected():
        try:
            from ray import serve  # noqa: PLC0415
        except ImportError as error:
            raise UsageError("serving needs an extra: pip install 'automl[serve]'") from error
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        http = {"host": settings.host, "port": settings.port, "location": "HeadOnly"}
        serve.start(http_options=http, logging_config=_QUIET)
        options: dict[str, Any] = {
            **settings.queue(),
            "graceful_shutdown_timeout_s": _GRACE_S,
            "ray_actor_options": {"num_cpus": 0},
        }
        try:
            application = serve.deployment(**options)(BundleServer).bind(settings)
            serve.run(application, name=_NAME, route_prefix="/", logging_config=_QUIET)
            yield
        finally:
            _end(lambda: serve.delete(_NAME))


def _end(delete: Callable[[], object]) -> None:
    """Let what is being answered end, where Ray Serve says so in time.

    It asks its controller without a limit, which may never answer. All the rest ends with the
    cluster, which is ours alone.
    """

    def ending() -> None:
        with suppress(Exception):  # it has gone already
            delete()

    deleting = threading.Thread(target=ending, daemon=True)
    deleting.start()
    deleting.join(_GRACE_S + _MARGIN_S)


def _check_port(settings: ServeSettings) -> None:
    try:
        family = socket.getaddrinfo(settings.host, settings.port)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port))
    except OSError as error:
        raise UsageError(
            f"cannot listen on {settings.host}, port {settings.port}: {error.strerror}"
        ) from error
