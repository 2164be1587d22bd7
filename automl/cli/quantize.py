"""`automl quantize`: one network through the INT8 ladder, with its gates; ends in a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli.places import here, written_here
from automl.cli.stopping import stoppable
from automl.cli.target_options import Runtime, Target, TokenFile, agent_of, runtime_line

if TYPE_CHECKING:
    from automl.compression.ladder import Ladder, Rung
    from automl.space.compression import Int8Settings
    from automl.stages.quantize_plan import QuantizePlan

_HEAD = f"{'rung':<12}{'mIoU':>8}{'drop':>9}{'worst class':>24}{'speed':>8}{'MB':>8}  verdict"


def quantize(
    model: Annotated[
        Path,
        typer.Argument(
            help="A bundle in FP32, STUDY/TRIAL, or the folder of a student.", callback=here
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="A new folder for the ladder and the bundle.", callback=written_here),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="A dataset's folder: train calibrates, val judges. Default: that of the study; "
            "a bundle needs it."
        ),
    ] = None,
    runtime: Runtime = "onnxruntime",
    rungs: Annotated[
        str | None, typer.Option(help="Rungs to try in this order, such as per_channel,qat.")
    ] = None,
    max_drop: Annotated[
        float, typer.Option(min=0, help="Largest drop of the mIoU on val.")
    ] = 0.005,
    max_class_drop: Annotated[
        float, typer.Option(min=0, help="Largest drop of the IoU of any class.")
    ] = 0.02,
    min_speedup: Annotated[
        float, typer.Option(min=1, help="Least speed as a multiple of FP32's.")
    ] = 1.05,
    faster_only: Annotated[
        bool, typer.Option("--faster-only", help="Keep no form that is smaller but not faster.")
    ] = False,
    qat_epochs: Annotated[int, typer.Option(min=1, help="Epochs of the rung qat.")] = 2,
    calibration_images: Annotated[
        int, typer.Option(min=1, help="Training images that calibrate.")
    ] = 64,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="CPU threads.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, max=100_000, help="Timed calls of each file.")] = 60,
    target: Target = None,
    token_file: TokenFile = None,
) -> None:
    """Try INT8 forms from the least costly on; the first that is accurate and faster wins.

    Each is held against the FP32 file in the same runtime: by mIoU and by the IoU of each class on
    val, and by its time in interleaved rounds. Where none passes, the FP32 network is what the
    bundle holds, with the reason. The same command goes on where it was stopped.

    Try it: automl quantize BUNDLE --data builtin:surface-defects --out results/int8
    """
    from automl.space.compression import Int8Settings
    from automl.stages.bench_meter import BenchMeter
    from automl.stages.quantize import quantize as climb
    from automl.stages.quantize_plan import QuantizeRequest, plan_quantization

    settings = Int8Settings(
        max_drop=max_drop,
        max_class_drop=max_class_drop,
        min_speedup=min_speedup,
        allow_slower_if_smaller=not faster_only,
        qat_epochs=qat_epochs,
    )
    agent = agent_of(target, token_file, runtime=runtime, threads=threads)
    plan = plan_quantization(
        QuantizeRequest(
            model=model,
            data=data,
            out=out,
            runtime=runtime,
            settings=settings,
            rungs=None if rungs is None else tuple(word.strip() for word in rungs.split(",")),
            calibration_images=calibration_images,
            threads=threads,
            rounds=rounds,
            timed_on=None if agent is None else agent.processor,
        )
    )
    for line in _plan_lines(plan):
        typer.echo(line)
    meter = BenchMeter(
        name=runtime, dataset=plan.dataset, threads=threads, rounds=rounds, agent=agent
    )
    with stoppable(f"; finished rungs are kept in {out}: the same command goes on."):
        done = climb(plan, meter, lambda rung: typer.echo(_row(rung)))
    for line in _closing(done.ladder, done.bundle, out):
        typer.echo(line)


def _plan_lines(plan: QuantizePlan) -> list[str]:
    request, settings, info = plan.request, plan.request.settings, plan.dataset.info
    return [
        f"model      {request.model}: {plan.subject.name}",
        f"data       {info.name}: {info.counts['train']} train, {info.counts['val']} val images",
        runtime_line(request.runtime, request.timed_on, request.threads),
        f"gates      {_gates(settings)}",
        *(f"note       {note}" for note in plan.notes),
        "",
        _HEAD,
    ]


def _gates(settings: Int8Settings) -> str:
    otherwise = "smaller is enough" if settings.allow_slower_if_smaller else "else FP32"
    return (
        f"mIoU drops by at most {settings.max_drop:g}, of a class by {settings.max_class_drop:g}; "
        f"at least {settings.min_speedup:g} x as fast, or {otherwise}"
    )


def _row(rung: Rung) -> str:
    if rung.quality is None or rung.speed is None:
        nothing = f"{'-':>8}{'-':>9}{'-':>24}{'-':>8}{'-':>8}"
        return f"{rung.name:<12}{nothing}  {rung.outcome}: {rung.reason}"
    worst = "-" if rung.worst_class is None else f"{rung.worst_class} {rung.class_drop:+.4f}"
    return (
        f"{rung.name:<12}{rung.quality.miou:>8.4f}{rung.drop:>+9.4f}{worst:>24}"
        f"{rung.speed.ratio:>7.2f}x{rung.size_mb:>8.2f}  {rung.outcome}: {rung.reason}"
    )


def _closing(ladder: Ladder, bundle: Path, out: Path) -> list[str]:
    verdict = "INT8" if ladder.chosen is not None else "FP32: no rung passes both gates"
    return [
        "",
        f"against fp32: {ladder.float_quality.miou:.4f} mIoU, {ladder.float_size_mb:.2f} MB",
        ladder.reason,
        f"verified bundle ({verdict}): {bundle}",
        f"all numbers: {out / 'ladder.json'}",
    ]
