"""`automl benchmark`: bundles timed side by side, here or on an agent's device. Loads no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli.places import here, written_here
from automl.cli.target_options import Target, TokenFile, given_together

if TYPE_CHECKING:
    from automl.benchmark.device import Device
    from automl.benchmark.plan import Measure
    from automl.benchmark.remote import Remote

_MAX_ROUNDS = 100_000


def benchmark(
    bundles: Annotated[
        list[Path],
        typer.Argument(
            metavar="BUNDLE...", help="Folders of bundles, or packed ones.", callback=here
        ),
    ],
    threads: Annotated[str, typer.Option(help="Numbers of CPU threads, such as 1,2.")] = "1",
    batch: Annotated[str, typer.Option(help="Numbers of images at once, such as 1,8.")] = "1",
    runtime: Annotated[
        str,
        typer.Option(help="Runtimes, such as onnxruntime,openvino (the extra automl\\[openvino])."),
    ] = "onnxruntime",
    rounds: Annotated[
        int, typer.Option(min=1, max=_MAX_ROUNDS, help="Timed calls of each row.")
    ] = 100,
    out: Annotated[
        Path | None,
        typer.Option(help="Also write all numbers to this Parquet file.", callback=written_here),
    ] = None,
    target: Target = None,
    token_file: TokenFile = None,
) -> None:
    """Time bundles in every combination of runtime, threads and batch; the first is the reference.

    What has the same number of threads takes turns, in a process of its own that is kept on as
    many cores. A batch of 1 in onnxruntime is the bundle's own file on an image of the network's
    size; other rows measure the same network made for that batch, which is checked to give the same
    masks. A bundle holds no torch network, so torch is no runtime for it.

    Try it: automl benchmark results/quickstart/bundles/best results/quickstart/bundles/smallest
    """
    from automl.benchmark.plan import Grid, check_threads, load_subjects, usable_runtimes
    from automl.benchmark.plan import benchmark as measure_all
    from automl.benchmark.table import report_lines, write_parquet
    from automl.errors import UsageError

    if out is not None and out.suffix.lower() != ".parquet":
        raise UsageError(f"--out: the name must end in .parquet, got {out}")
    numbers = {"threads": _numbers("--threads", threads), "batches": _numbers("--batch", batch)}
    subjects = load_subjects(bundles)
    device, measure = _measuring(_remote(target, token_file))
    usable, notes = usable_runtimes(_words("--runtime", runtime), device)
    check_threads(numbers["threads"], device)
    typer.echo(f"device     {device.line()}")
    grid = Grid(runtimes=usable, rounds=rounds, **numbers)
    report = measure_all(subjects, grid, measure, say=typer.echo)
    typer.echo()
    for line in [*report_lines(report), *(f"note: {note}" for note in notes)]:
        typer.echo(line)
    if out is not None:
        write_parquet(report, out, target="here" if target is None else target)
        typer.echo(f"written: {out}")


def _remote(target: str | None, token_file: Path | None) -> Remote | None:
    from automl.benchmark.remote import Remote
    from automl.benchmark.secret import read_token

    given = given_together(target, token_file)
    return None if given is None else Remote.at(given[0], read_token(given[1]))


def _measuring(remote: Remote | None) -> tuple[Device, Measure]:
    from automl.benchmark.device import this_device
    from automl.benchmark.worker import measure_here

    if remote is not None:
        return remote.device(), remote.measure
    return this_device(), measure_here


def _words(option: str, text: str) -> tuple[str, ...]:
    from automl.errors import UsageError

    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    if "" in words:
        raise UsageError(f"{option}: words between commas, none empty, got {text!r}")
    return words


def _numbers(option: str, text: str) -> tuple[int, ...]:
    from automl.errors import UsageError

    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and 1 <= int(word) <= 1024 for word in words):
        raise UsageError(f"{option}: numbers of 1 to 1024 between commas, got {text!r}")
    return tuple(dict.fromkeys(map(int, words)))
