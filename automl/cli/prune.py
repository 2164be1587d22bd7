"""`automl prune`: one trained network at several ratios, with a speed gate; ends in bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli.places import here, written_here
from automl.cli.stopping import stoppable
from automl.cli.target_options import Runtime, Target, TokenFile, agent_of, runtime_line

if TYPE_CHECKING:
    from automl.space.pruning import PruningSettings
    from automl.stages.prune import Point, Pruned
    from automl.stages.prune_plan import PrunePlan

_HEAD = (
    f"{'ratio':>5}{'params M':>10}{'MACs G':>9}{'MB':>7}{'mIoU pruned':>13}{'tuned':>8}"
    f"{'speed':>8}  verdict"
)


def prune(
    model: Annotated[
        Path,
        typer.Argument(
            help="STUDY/TRIAL, a checkpoint folder, a bundle in its study, or a weights folder.",
            callback=here,
        ),
    ],
    ratio: Annotated[str, typer.Option(help="Shares of channels to remove, such as 0.25,0.5.")],
    out: Annotated[
        Path, typer.Option(help="A new folder for the networks and bundles.", callback=written_here)
    ],
    data: Annotated[
        str | None, typer.Option(help="A dataset's folder; default: that of the study.")
    ] = None,
    importance: Annotated[
        str, typer.Option(help="What matters: group_norm, l1, bn_scale or taylor.")
    ] = "group_norm",
    scope: Annotated[
        str, typer.Option(help="layer: the ratio holds for every layer; global: for all together.")
    ] = "layer",
    steps: Annotated[
        int, typer.Option(min=1, help="Prunings with a share of the epochs after each.")
    ] = 1,
    epochs: Annotated[
        int, typer.Option(min=0, help="Epochs of fine-tuning for each ratio; 0: none.")
    ] = 5,
    learning_rate: Annotated[
        float | None, typer.Option(help="Its peak learning rate; default: the trial's.")
    ] = None,
    min_speedup: Annotated[
        float, typer.Option(min=1, help="Least speed as a multiple of that before pruning.")
    ] = 1.05,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="CPU threads.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, max=100_000, help="Timed calls of each file.")] = 60,
    runtime: Runtime = "onnxruntime",
    target: Target = None,
    token_file: TokenFile = None,
) -> None:
    """Prune a trained network at each ratio, fine-tune it, and keep what is faster.

    Each is timed in turns with the network before pruning; one that is not faster is refused before
    it is fine-tuned. The others end as verified bundles. The same command goes on where it was
    stopped, also with more ratios.

    Try it: automl prune results/camvid/4 --ratio 0.25,0.5 --epochs 5 --out results/pruned
    """
    from automl.cli.words import numbers, one_of
    from automl.errors import UsageError
    from automl.space.pruning import IMPORTANCES, SCOPES, PruningSettings
    from automl.stages.bench_meter import BenchMeter
    from automl.stages.prune import prune_network
    from automl.stages.prune_plan import PruneRequest, plan_pruning

    if learning_rate is not None and not learning_rate > 0:
        raise UsageError(f"--learning-rate: given {learning_rate:g}; allowed: above 0")
    how = PruningSettings(
        importance=one_of("--importance", importance, IMPORTANCES),
        scope=one_of("--scope", scope, SCOPES),
        steps=steps,
    )
    agent = agent_of(target, token_file, runtime=runtime, threads=threads)
    plan = plan_pruning(
        PruneRequest(
            model=model,
            data=data,
            out=out,
            ratios=numbers("--ratio", ratio),
            how=how,
            epochs=epochs,
            learning_rate=learning_rate,
            min_speedup=min_speedup,
            threads=threads,
            rounds=rounds,
            runtime=runtime,
            timed_on=None if agent is None else agent.processor,
        )
    )
    for line in _plan_lines(plan, how):
        typer.echo(line)
    meter = BenchMeter(
        name=runtime, dataset=plan.dataset, threads=threads, rounds=rounds, agent=agent
    )
    with stoppable(f"; finished epochs are kept in {out}: the same command goes on."):
        done = prune_network(plan, meter, lambda point: typer.echo(_row(point, epochs)))
    for line in _closing(done, out):
        typer.echo(line)


def _plan_lines(plan: PrunePlan, how: PruningSettings) -> list[str]:
    request, info = plan.request, plan.dataset.info
    return [
        f"model      {request.model}",
        f"data       {info.name}: {info.counts['train']} train, {info.counts['val']} val images",
        f"pruning    {how.importance}, ratio by {how.scope}, {how.steps} step(s)",
        f"tuning     {request.epochs} epochs for each ratio",
        f"gate       at least {request.min_speedup:g} x as fast as before pruning",
        runtime_line(request.runtime, request.timed_on, request.threads),
        "",
        _HEAD,
    ]


def _row(point: Point, epochs: int) -> str:
    sizes = f"{point.params_m:>10.3f}{point.macs_g:>9.3f}{point.size_mb:>7.2f}"
    pace = point.pace
    if pace is None:
        return f"{'whole':>5}{sizes}{'-':>13}{point.miou:>8.4f}{'1.00x':>8}"
    tuned = f"{point.miou:.4f}" if pace.accepted and epochs > 0 else "-"
    return (
        f"{point.ratio:>5g}{sizes}{point.miou_pruned:>13.4f}{tuned:>8}"
        f"{pace.speedup:>7.2f}x  {pace.verdict}"
    )


def _closing(done: Pruned, out: Path) -> list[str]:
    bundles = [point.bundle for point in done.points if point.bundle is not None]
    head = "verified bundles:" if bundles else "no bundle: no ratio makes this network faster"
    return [
        "",
        head,
        *(f"  {bundle}" for bundle in bundles),
        f"all numbers: {out}/ratio-*/point.json",
    ]
