"""What `compression.py` prints: a table, and each goal as met or not met."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from compression_bench import RUNTIMES, THREADS, Row


def print_table(rows: Mapping[str, Row]) -> None:
    """Ratios to the FP32 teacher in each runtime and number of threads."""
    keys = [(runtime, threads) for runtime in RUNTIMES for threads in THREADS]
    heads = " ".join(f"{runtime[:4] + '/' + str(threads):>8}" for runtime, threads in keys)
    print(
        f"\n{'file':<26}{'params M':>9}{'MACs G':>8}{'MB':>7}{'val':>8}{'test':>8}  speed: {heads}"
    )
    for name, row in rows.items():
        speeds = " ".join(f"{rows['teacher'].ms[k] / row.ms[k]:>7.2f}x" for k in keys)
        print(
            f"{name:<26}{row.params_m:>9.3f}{row.macs_g:>8.3f}{row.size_mb:>7.2f}"
            f"{row.miou['val']:>8.4f}{row.miou['test']:>8.4f}         {speeds}"
        )
    times = ", ".join(f"{r} {t} thread(s) {rows['teacher'].ms[r, t]:.2f} ms" for r, t in keys)
    print(f"the teacher: {times} (CPU time with one thread, wall time with two)")


def print_goals(rows: Mapping[str, Row], gains: Mapping[str, list[float]]) -> None:
    """Each goal with its number; mIoU on test, times in ONNX Runtime with one thread."""
    teacher, key = rows["teacher"], ("onnxruntime", 1)

    def share(row: Row) -> float:
        return row.miou["test"] / teacher.miou["test"]

    def speed(row: Row) -> float:
        return teacher.ms[key] / row.ms[key]

    def told(goal: str, number: str, *, met: bool) -> None:
        print(f"{'met' if met else 'not met':<8} {goal}: {number}")

    print("\ngoals")
    pruned = {n: r for n, r in rows.items() if n.startswith("pruned") and "int8" not in n}
    few = {n: r for n, r in pruned.items() if r.macs_g <= 0.3 * teacher.macs_g}
    best = max(
        few, key=lambda n: share(few[n]), default=min(pruned, key=lambda n: pruned[n].macs_g)
    )
    row = rows[best]
    told(
        "70 % fewer MACs at >= 95 % of the mIoU",
        f"{best}: {1 - row.macs_g / teacher.macs_g:.0%} fewer, {share(row):.1%}",
        met=best in few and share(row) >= 0.95,
    )
    small = rows["teacher-int8"]
    drop = 100 * (teacher.miou["test"] - small.miou["test"])
    told(
        "INT8 >= 2 x faster than FP32 at a drop <= 0.5 points",
        f"{speed(small):.2f} x, {drop:+.2f} points",
        met=speed(small) >= 2 and drop <= 0.5,
    )
    smaller = teacher.size_mb / small.size_mb
    told("INT8 file 4 x smaller", f"{smaller:.2f} x", met=smaller >= 4)
    good = {n: r for n, r in rows.items() if share(r) >= 0.97}
    fastest = max(good, key=lambda n: speed(good[n]))
    told(
        "the whole chain >= 6 x faster at >= 97 % of the mIoU",
        f"{fastest}: {speed(rows[fastest]):.2f} x, {share(rows[fastest]):.1%}",
        met=speed(rows[fastest]) >= 6,
    )
    for against, points in gains.items():
        mean = statistics.mean(points)
        each = ", ".join(f"{p:+.2f}" for p in points)
        told(
            f"distillation >= +0.7 points over student-{against}",
            f"{mean:+.2f} points (by seed: {each})",
            met=mean >= 0.7,
        )
