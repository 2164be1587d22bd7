"""`automl pretrain`: an encoder learns from images without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from automl.cli.opening import imported_dataset, plain_console
from automl.cli.places import written_here
from automl.cli.stopping import stoppable, to_continue
from automl.errors import UsageError


def pretrain(
    space: Annotated[
        str, typer.Option(help="An experiment file, or a shipped one: its data and its encoder.")
    ],
    out: Annotated[
        Path,
        typer.Option(help="The weights file to write: encoder.safetensors.", callback=written_here),
    ],
    data: Annotated[
        str | None, typer.Option(help="A dataset's folder; replaces data.source of the file.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="A timm name; default: the encoder of the space's default.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs over the training images.")] = 100,
    batch_size: Annotated[
        int, typer.Option(min=2, help="Images of a batch, two views each; more is better.")
    ] = 64,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    temperature: Annotated[float, typer.Option(help="Temperature of the loss.")] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, order and views.")] = 0,
) -> None:
    """Pre-train an encoder on the training images, without their masks (SimCLR).

    Val and test are not looked at. The same command continues an interrupted one. A search uses the
    file by `pretrained: encoder.safetensors` in its space.

    Try it: automl pretrain --space quickstart.yaml --epochs 5 --out encoder.safetensors
    """
    from automl.cli.describe import describe_dataset
    from automl.space.loading import Overrides, load_experiment

    if learning_rate <= 0 or temperature <= 0:
        raise UsageError(
            f"--learning-rate, --temperature: given {learning_rate:g}, {temperature:g}; "
            "allowed: > 0"
        )
    experiment = load_experiment(space, Overrides(data=data))
    typer.secho("loading PyTorch ...", err=True, dim=True)
    from automl.models.encoders import describe_encoder
    from automl.stages.pretrain import PretrainingRequest, check_request, pretrain_encoder
    from automl.training.pretraining import USEFUL_BATCH

    declared = experiment.space.default().get("encoder")
    name = str(declared) if encoder is None else encoder
    request = PretrainingRequest(
        encoder=name,
        out=out,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        temperature=temperature,
        seed=seed,
        device=experiment.train.device,
        loader_workers=experiment.train.loader_workers,
    )
    check_request(request)
    describe_encoder(name, 32, experiment.data.size)
    dataset = imported_dataset(experiment, plain_console())
    for line in describe_dataset(dataset.info):
        typer.echo(line)
    images = min(batch_size, dataset.info.counts["train"])
    typer.echo(f"pretrains  {name}, {epochs} epochs, batches of {images} images, seed {seed}")
    if images < USEFUL_BATCH:
        typer.echo(
            f"warning: {images} images a batch: each view has only {2 * images - 2} others to "
            f"differ from, and little is learnt below {USEFUL_BATCH} images"
        )
    typer.echo("\n    epoch        loss")
    with stoppable(f".{to_continue()}"):
        done = pretrain_encoder(
            request,
            dataset,
            lambda epoch, loss: typer.echo(f"{epoch:>3} of {epochs}  {loss:>10.4f}"),
        )
    typer.echo(f"\nloss {done.losses[-1]:.4f}, {done.chance:.4f} by chance")
    typer.echo(f"written: {out}    next, in a space: pretrained: {out}")
