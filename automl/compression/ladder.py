"""The ladder of INT8 forms, and the two gates at each rung: accuracy and speed.

Rungs are tried from the least costly on; the first that passes both gates wins. Where none does the
network stays in float32, for a reason that is kept with what every rung scored. This is the
decision alone: what a rung makes, and how it is measured, is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from automl.measurement.latency import LatencyStats
from automl.records import Scalar

Outcome = Literal["accepted", "smaller", "refused"]


class Gates(Protocol):
    """What a rung must keep to; see `automl.space.compression.Int8Settings`."""

    @property
    def max_drop(self) -> float:
        """Largest drop of the mIoU."""

    @property
    def max_class_drop(self) -> float:
        """Largest drop of the IoU of any class."""

    @property
    def min_speedup(self) -> float:
        """Least speed, as a multiple of that in float32."""

    @property
    def allow_slower_if_smaller(self) -> bool:
        """Whether an accurate form that is not faster is kept for its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What a file scores on val: mIoU, and the IoU of each class that occurs."""

    miou: float
    iou: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Milliseconds of the float32 file and of this one, timed in the same interleaved rounds.

    `float_ms` and `int8_ms` decide: medians of processor time with one thread, else of wall time;
    all that was timed stands beside them.
    """

    float_ms: float
    int8_ms: float
    float_stats: LatencyStats
    int8_stats: LatencyStats

    @classmethod
    def of(cls, before: LatencyStats, after: LatencyStats, *, threads: int) -> Speed:
        """From the timings of the float32 file and of the other: CPU time adds up over threads."""
        decisive = "cpu_p50_ms" if threads == 1 else "p50_ms"
        return cls(
            float_ms=getattr(before, decisive),
            int8_ms=getattr(after, decisive),
            float_stats=before,
            int8_stats=after,
        )

    @property
    def ratio(self) -> float:
        """How many times as fast as in float32."""
        return self.float_ms / self.int8_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One rung that was tried, in `seconds`, measuring included.

    Without `quality` its file could not be made, for the `reason`.
    """

    name: str
    outcome: Outcome
    reason: str
    quality: Quality | None = None
    speed: Speed | None = None
    size_mb: float | None = None
    drop: float | None = None
    worst_class: str | None = None
    class_drop: float | None = None
    recipe: Mapping[str, Scalar] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """All rungs that were tried for a network, and the one whose file is kept, if any."""

    network: str
    runtime: str
    float_quality: Quality
    float_size_mb: float
    rungs: tuple[Rung, ...]
    chosen: str | None
    reason: str

    def rung(self, name: str) -> Rung:
        """A rung by its name."""
        return next(rung for rung in self.rungs if rung.name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A rung's file as measured; `float_quality` is that of the float32 file."""

    float_quality: Quality
    float_size_mb: float
    quality: Quality
    speed: Speed
    size_mb: float
    recipe: Mapping[str, Scalar]


def judge(name: str, measured: Measured, gates: Gates) -> Rung:
    """Hold a rung's file against both gates."""
    drop = measured.float_quality.miou - measured.quality.miou
    worst_class, class_drop = _worst_class(measured)
    faults = []
    if drop > gates.max_drop:
        faults.append(f"loses {drop:.4f} of the mIoU (at most {gates.max_drop:g})")
    if class_drop > gates.max_class_drop:
        faults.append(f"loses {class_drop:.4f} of {worst_class} (at most {gates.max_class_drop:g})")
    outcome, reason = _verdict(faults, measured, gates)
    return Rung(
        name=name,
        outcome=outcome,
        reason=reason,
        quality=measured.quality,
        speed=measured.speed,
        size_mb=measured.size_mb,
        drop=drop,
        worst_class=worst_class,
        class_drop=class_drop,
        recipe=measured.recipe,
    )


def _verdict(faults: list[str], measured: Measured, gates: Gates) -> tuple[Outcome, str]:
    pace = speed_text(measured.speed.ratio)
    fast = measured.speed.ratio >= gates.min_speedup
    if not fast:
        pace += f" (at least {gates.min_speedup:g} x the speed is needed)"
    if faults:
        return "refused", "; ".join([*faults, pace])
    if fast:
        return "accepted", pace
    if gates.allow_slower_if_smaller and measured.size_mb < measured.float_size_mb:
        share = 1 - measured.size_mb / measured.float_size_mb
        return "smaller", f"{pace}; kept because it is {share * 100:.0f} % smaller"
    return "refused", pace


def speed_text(ratio: float) -> str:
    """A speed beside that of float32, in words: `12 % faster`."""
    percent = round((ratio - 1) * 100)
    if percent == 0:
        return "as fast as FP32"
    return f"{abs(percent)} % {'faster' if percent > 0 else 'slower'} than FP32"


def _worst_class(measured: Measured) -> tuple[str | None, float]:
    """The class that loses most; one that is not found any more loses all that it had."""
    lost = {
        name: before - measured.quality.iou.get(name, 0.0)
        for name, before in measured.float_quality.iou.items()
    }
    if not lost:
        return None, 0.0
    worst = max(lost, key=lambda name: lost[name])
    return worst, lost[worst]


def climb(
    names: Sequence[str],
    attempt: Callable[[str], Rung],
    gates: Gates,
    *,
    layouts: Mapping[str, str],
) -> tuple[tuple[Rung, ...], Rung | None]:
    """Try rungs in order until one passes both gates; those tried, and the one to keep.

    Rungs of one of `layouts` have the same operators in INT8, or fewer, so where one of them is too
    slow the later ones are, too: they are tried only for the sake of accuracy, where an accurate
    form that is not faster would be kept.
    """
    tried: list[Rung] = []
    kept: Rung | None = None
    slow: set[str] = set()
    for name in names:
        pointless = kept is not None or not gates.allow_slower_if_smaller
        if layouts[name] in slow and pointless:
            continue
        rung = attempt(name)
        tried.append(rung)
        if rung.outcome == "accepted":
            return tuple(tried), rung
        if rung.outcome == "smaller" and kept is None:
            kept = rung
        if rung.speed is not None and rung.speed.ratio < gates.min_speedup:
            slow.add(layouts[name])
    return tuple(tried), kept


def conclusion(tried: Sequence[Rung], kept: Rung | None) -> str:
    """The verdict on INT8 for a network, in a line."""
    if kept is not None:
        return f"int8 {kept.outcome}, {kept.name}: {kept.reason}"
    return "int8 refused: " + "; ".join(f"{rung.name}: {rung.reason}" for rung in tried)
