"""Counters of a server, in the text format of Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

#: Upper ends of the bins of times, in seconds.
_BINS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ServiceMetrics:
    """What one replica counts; nothing of it is shared with Ray's own metrics."""

    media_type = "text/plain; version=0.0.4"

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "automl_requests",
            "Requests to /predict by status.",
            ["status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "automl_predict_seconds",
            "Time of the model, for all images of a batch together.",
            registry=self._registry,
            buckets=_BINS,
        )
        self._images = Counter(
            "automl_batch_images", "Images in all batches together.", registry=self._registry
        )

    def on_request(self, status: int) -> None:
        """Count an answer."""
        self._requests.labels(status=str(status)).inc()

    def on_batch(self, num_images: int, seconds: float) -> None:
        """Count a run of the model."""
        self._images.inc(num_images)
        self._seconds.observe(seconds)

    def text(self) -> bytes:
        """All counters."""
        content: bytes = generate_latest(self._registry)
        return content
