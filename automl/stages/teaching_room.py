"""Whether what teachers say may be kept: told before any work, from what is declared."""

from __future__ import annotations

from automl.compression.recorded import BYTES
from automl.errors import UsageError
from automl.models.decoders import DECODERS
from automl.records import DatasetInfo, Scalar
from automl.space.domains import Choice
from automl.space.experiment import Experiment
from automl.space.parameters import DEFAULTS


def check_teaching_room(experiment: Experiment, info: DatasetInfo) -> None:
    """Refuse a cache of teachers' answers that may be larger than is allowed.

    Raises:
        UsageError: naming what a teacher of the space may need, and what is allowed.
    """
    compress = experiment.compress
    cache = compress.teacher_cache
    if cache is None or not compress.all_students:
        return
    needed_gb = largest_cache_gb(experiment, info)
    if needed_gb > cache.max_gb:
        raise UsageError(
            f"compress.teacher_cache: {cache.views} views of {info.counts['train']} training "
            f"images may take {needed_gb:.2f} GB for each of {compress.winners} teachers; given "
            f"max_gb: {cache.max_gb:g}; allowed: at least what they may take. Raise it, or declare "
            "fewer views or channel_weight: 0"
        )


def largest_cache_gb(experiment: Experiment, info: DatasetInfo) -> float:
    """What the answers of one teacher may take: of the decoder of the space that needs most.

    No decoder gives more features than its width, and pruning takes only away.
    """
    compress, views = experiment.compress, 0
    if compress.teacher_cache is not None:
        views = compress.teacher_cache.views
    height, width = info.size
    numbers = 0
    for name in _options(experiment, "decoder"):
        cells = height * width // DECODERS[str(name)].stride ** 2
        # The mean of several teachers is that of enlarged logits.
        pixels = cells if compress.teachers == "own" else height * width
        channels = _widest(experiment) if compress.channel_weight > 0 else 0
        numbers = max(numbers, len(info.classes) * pixels + channels * cells)
    return BYTES * views * info.counts["train"] * numbers / 1e9


def _options(experiment: Experiment, name: str) -> tuple[Scalar, ...]:
    domain = experiment.space.domains.get(name)
    return domain.options if isinstance(domain, Choice) else (DEFAULTS[name],)


def _widest(experiment: Experiment) -> int:
    domain = experiment.space.domains.get("decoder_width")
    if domain is None:
        return int(DEFAULTS["decoder_width"])
    values = domain.options if isinstance(domain, Choice) else (domain.high,)
    return max(int(value) for value in values)
