"""`automl distill`: a student beside its teachers, and what they add over the student alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli.places import here, written_here
from automl.cli.stopping import stoppable
from automl.cli.target_options import Runtime, Target, TokenFile, agent_of, runtime_line

if TYPE_CHECKING:
    from automl.measurement.repeats import MeanInterval
    from automl.stages.distill import Distilled, Gain
    from automl.stages.distill_plan import DistillPlan

_HEAD = f"{'seed':>4}{'taught':>9}{'alone':>9}{'gain':>9}{'same seconds':>19}{'gain':>9}"


def distill(
    teacher: Annotated[
        list[Path],
        typer.Option(
            help="STUDY/TRIAL, a checkpoint or a bundle; several teach as an ensemble.",
            callback=here,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="A new folder for the trainings and the bundle.", callback=written_here),
    ],
    student: Annotated[
        str | None,
        typer.Option(help="An experiment file whose default is the student; default: the teacher."),
    ] = None,
    params: Annotated[
        list[str] | None,
        typer.Option(help="Values over it: encoder=resnet18,decoder_width=32. May be repeated."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="A dataset's folder; default: that of the study.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the student.")] = 20,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds to compare over, from 0 on.")] = 3,
    temperature: Annotated[float, typer.Option(help="Temperature of the logits.")] = 2.0,
    logit_weight: Annotated[float, typer.Option(help="Weight of the logits.")] = 1.0,
    channel_weight: Annotated[
        float, typer.Option(help="Weight of the decoder's channels as distributions over space.")
    ] = 0.0,
    feature_weight: Annotated[
        float, typer.Option(help="Weight of the encoder's stages, matched by 1x1 adapters.")
    ] = 0.0,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="CPU threads.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, max=100_000, help="Timed calls of the file.")] = 60,
    runtime: Runtime = "onnxruntime",
    target: Target = None,
    token_file: TokenFile = None,
) -> None:
    """Train a student beside its teachers, and tell what they add over the same student alone.

    Each seed trains it three times: taught, alone for as many epochs, and alone for as many seconds
    of optimizer steps. The taught student of seed 0 ends as a verified bundle. The same command
    goes on where it was stopped, also with more seeds.

    Try it: automl distill --teacher results/camvid/4 --params decoder_width=16 --out results/small
    """
    from automl.errors import UsageError
    from automl.space.fixed import parse_assignments
    from automl.space.loading import load_experiment

    values = parse_assignments([] if params is None else params, "--params")
    space = None if student is None else load_experiment(student)

    from automl.compression.distill import DistillationSettings
    from automl.stages.bench_meter import BenchMeter
    from automl.stages.distill import distil
    from automl.stages.distill_plan import DistillRequest, plan_distillation

    try:
        settings = DistillationSettings(
            temperature=temperature,
            logit_weight=logit_weight,
            channel_weight=channel_weight,
            feature_weight=feature_weight,
        )
    except ValueError as error:
        raise UsageError(f"--{str(error).replace('_', '-')}") from None
    agent = agent_of(target, token_file, runtime=runtime, threads=threads)
    plan = plan_distillation(
        DistillRequest(
            teachers=tuple(teacher),
            space=space,
            params=values,
            data=data,
            out=out,
            epochs=epochs,
            seeds=seeds,
            settings=settings,
            threads=threads,
            rounds=rounds,
            runtime=runtime,
            timed_on=None if agent is None else agent.processor,
        )
    )
    for line in _plan_lines(plan):
        typer.echo(line)
    meter = BenchMeter(
        name=runtime, dataset=plan.dataset, threads=threads, rounds=rounds, agent=agent
    )
    with stoppable(f"; finished epochs are kept in {out}: the same command goes on."):
        done = distil(plan, meter, lambda gain: typer.echo(_row(gain)))
    for line in _closing(done):
        typer.echo(line)


def _plan_lines(plan: DistillPlan) -> list[str]:
    request, info, params = plan.request, plan.dataset.info, plan.params
    names = " + ".join(str(path) for path in request.teachers)
    many = " (mean of their softened probabilities)" if len(request.teachers) > 1 else ""
    settings = request.settings
    weights = (
        f"logits {settings.logit_weight:g} (T = {settings.temperature:g}), channels "
        f"{settings.channel_weight:g}, stages {settings.feature_weight:g}"
    )
    return [
        f"teacher    {names}{many}",
        f"student    {params.encoder} + {params.decoder} {params.decoder_width}",
        f"data       {info.name}: {info.counts['train']} train, {info.counts['val']} val images",
        f"weights    {weights}",
        f"epochs     {request.epochs}; mIoU on val below",
        runtime_line(request.runtime, request.timed_on, request.threads),
        "",
        _HEAD,
    ]


def _row(gain: Gain) -> str:
    taught, alone, longer = gain.taught.miou, gain.alone.miou, gain.longer.miou
    longer_text = f"{longer:.4f} ({gain.longer.epochs} ep)"
    return (
        f"{gain.seed:>4}{taught:>9.4f}{alone:>9.4f}{taught - alone:>+9.4f}"
        f"{longer_text:>19}{taught - longer:>+9.4f}"
    )


def _closing(done: Distilled) -> list[str]:
    return [
        "",
        f"gain over the same epochs:  {_interval(done.over_epochs)}",
        f"gain over the same seconds: {_interval(done.over_seconds)}",
        f"verified bundle (seed 0): {done.bundle}",
    ]


def _interval(interval: MeanInterval) -> str:
    if interval.half_width is None:
        return f"{interval.mean:+.4f} (one seed says nothing of chance)"
    return (
        f"{interval.mean:+.4f} ± {interval.half_width:.4f} (95 % interval, {interval.count} seeds)"
    )
