"""`automl cross-validate`: one configuration on the folds of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli.places import written_here
from automl.cli.stopping import stoppable
from automl.cli.study_options import Space

if TYPE_CHECKING:
    from automl.records import Scalar
    from automl.space.experiment import Experiment
    from automl.stages.cross_validate import CrossValidation


def cross_validate(
    space: Space,
    out: Annotated[
        Path,
        typer.Option(
            help="A folder for the scores; continued if it is there.", callback=written_here
        ),
    ],
    data: Annotated[
        str | None, typer.Option(help="A dataset's folder; replaces data.source of the file.")
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Parts of train and val together.")] = 5,
    params: Annotated[
        str, typer.Option(help="default, or a trial of a study: results/my-study/4, .../best.")
    ] = "default",
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of each training.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of folds and trainings; replaces search.seed.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; default: the cores there are.")
    ] = None,
) -> None:
    """Train one configuration once a fold, and tell its mean score with a 95 % interval.

    Train and val are dealt out into folds in which every class keeps its share; test is left alone.
    Each training is scored on the fold that it did not see. The same command goes on where it was
    stopped. Needs no Ray.

    Try it: automl cross-validate --space quickstart.yaml --folds 3 --out results/folds
    """
    from automl.cli.experiment import load_checked
    from automl.data.importing import cached_dataset
    from automl.jobs.context import available_cpus
    from automl.space.loading import Overrides
    from automl.stages.cross_validate import cross_validate as train_folds
    from automl.stages.cross_validate import plan_cross_validation

    experiment = load_checked(space, Overrides(data=data, epochs=epochs, seed=seed))
    chosen = _params(experiment, params)
    where = experiment.data
    dataset = cached_dataset(
        where.source, size=where.size, resize=where.fit, split_seed=where.split_seed
    )
    plan = plan_cross_validation(
        experiment,
        dataset,
        chosen,
        num_folds=folds,
        out=out,
        threads=available_cpus() if threads is None else threads,
    )
    for line in _plan_lines(plan):
        typer.echo(line)
    metric = experiment.objectives[0].metric

    def hear(fold: int, scores: Mapping[str, float]) -> None:
        typer.echo(_fold_line(plan, fold, metric, scores))

    with stoppable(". The same command goes on."):
        done = train_folds(plan, hear)
    for line in _mean_lines(done):
        typer.echo(line)


def _params(experiment: Experiment, named: str) -> Mapping[str, Scalar]:
    from automl.errors import UsageError
    from automl.stages.cross_validate import trial_params

    if named == "default":
        return experiment.space.default()
    study, trial = Path(named).parent, Path(named).name
    if not study.is_dir() or str(study) == ".":
        raise UsageError(
            f"--params: given {named!r}; allowed: default, or a study's folder with a trial's "
            "number, id or best: results/my-study/4"
        )
    return trial_params(study, trial)


def _plan_lines(plan: CrossValidation) -> list[str]:
    from automl.stages.cross_validate import optimism

    info, train = plan.folds.dataset.info, plan.experiment.train
    params = ", ".join(f"{name} {_shown(value)}" for name, value in plan.params.items())
    sizes = sorted({plan.folds.size(fold) for fold in range(plan.num_folds)})
    images = " or ".join(map(str, sizes))
    metric = plan.experiment.objectives[0].metric
    return [
        f"data       {info.name}: {plan.num_folds} folds of {images} images, from train and val",
        f"config     {params}",
        f"training   {train.epochs} epochs a fold, seed {plan.seed}, CPU threads {plan.threads}",
        *(f"warning    {note}" for note in optimism(plan)),
        "",
        f"fold  images  {metric}",
        *(_fold_line(plan, fold, metric, plan.done[fold]) for fold in sorted(plan.done)),
    ]


def _shown(value: Scalar) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _fold_line(plan: CrossValidation, fold: int, metric: str, scores: Mapping[str, float]) -> str:
    return f"{fold:>4}  {plan.folds.size(fold):>6}  {scores[metric]:.4f}"


def _mean_lines(done: CrossValidation) -> list[str]:
    from automl.stages.cross_validate import RESULT_FILE

    lines = [""]
    for name, own in done.intervals().items():
        half = "" if own.half_width is None else f" ± {own.half_width:.4f}"
        lines.append(f"{name:<24} {own.mean:.4f}{half}")
    note = "mean of the folds ± its 95 % interval (Student's t); folds share images to learn from"
    return [*lines, f"{note}, so it is rather too short", f"written: {done.out / RESULT_FILE}"]
