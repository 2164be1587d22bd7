"""AutoML and NAS for image segmentation: from images and masks to a small, verified model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from automl.api.engine import search
    from automl.api.result import SearchResult
    from automl.api.trial import Trial

__version__ = "0.1.0"

__all__ = ["SearchResult", "Trial", "__version__", "search"]


def __getattr__(name: str) -> Any:
    """The public interface, imported when it is first used: the command line needs none of it."""
    if name == "search":
        from automl.api.engine import search  # noqa: PLC0415

        return search
    if name == "Trial":
        from automl.api.trial import Trial  # noqa: PLC0415

        return Trial
    if name == "SearchResult":
        from automl.api.result import SearchResult  # noqa: PLC0415

        return SearchResult
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
