"""`automl data preview`: what training will see, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli.places import written_here
from automl.cli.resize_option import MaybeResize

if TYPE_CHECKING:
    from automl.data.dataset import Dataset
    from automl.resize import Resize
    from automl.space.experiment import Experiment
    from automl.space.policies.policy import Policy

#: Height and width where neither the dataset nor an experiment says.
_SIZE = (192, 256)


def preview(
    source: Annotated[
        str,
        typer.Argument(help="A dataset: a folder, or builtin:surface-defects.", metavar="DATA"),
    ],
    out: Annotated[
        Path, typer.Option(help="The picture to write: a PNG file.", callback=written_here)
    ],
    policy: Annotated[
        str, typer.Option(help="The augmentation: a built-in policy, or one that --space declares.")
    ] = "light",
    space: Annotated[
        str | None, typer.Option(help="An experiment file that declares policies.", metavar="FILE")
    ] = None,
    mix: Annotated[
        str | None, typer.Option(help="Also mix images: copy_paste, classmix, cutmix or mixup.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=100, help="How many images.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Which images, and what befalls them.")] = 0,
    size: Annotated[
        tuple[int, int] | None, typer.Option(help="Height and width, multiples of 32: 192 256.")
    ] = None,
    resize: MaybeResize = None,
) -> None:
    """Draw images before and after augmentation, with their masks.

    A declared policy has the values of trial 0. The images are made as training makes them.
    """
    from automl.bundle.masks import png_bytes
    from automl.cli.resize_option import resize_of
    from automl.errors import UsageError
    from automl.stages.preview import Preview, preview_sheet
    from automl.store.atomic import write_bytes

    if out.suffix.lower() != ".png":
        raise UsageError(f"--out: given {str(out)!r}; allowed: a file that ends in .png")
    experiment = None if space is None else _experiment(space)
    fit = None if resize is None else resize_of(resize)
    wanted = Preview(policy=_policy(policy, experiment), mix=mix, count=count, seed=seed)
    sheet = preview_sheet(_dataset(source, size, fit, experiment), wanted)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, png_bytes(sheet))
    typer.echo(f"wrote {out}: augmentation {wanted.name}, {sheet.width} x {sheet.height} pixels")


def _experiment(file: str) -> Experiment:
    from automl.space.loading import load_experiment

    return load_experiment(file)


def _policy(name: str, experiment: Experiment | None) -> str | Policy:
    from automl.data.augment import POLICIES
    from automl.errors import UsageError
    from automl.space.limits import nearest

    declared = {} if experiment is None else experiment.augmentation_policies
    if experiment is not None and name in declared:
        resolved = experiment.policy({**experiment.space.default(), "augmentation": name})
        assert resolved is not None
        return resolved
    if name in POLICIES:
        return name
    known = [*POLICIES, *declared]
    meant = nearest(name, known)
    hint = f"; did you mean {meant}?" if meant is not None else ""
    raise UsageError(f"--policy: given {name!r}; allowed: {', '.join(known)}{hint}")


def _dataset(
    source: str, size: tuple[int, int] | None, fit: Resize | None, experiment: Experiment | None
) -> Dataset:
    """As asked for, else as it is where it is imported, else as the experiment declares."""
    from automl.data.dataset import is_dataset, open_dataset
    from automl.data.importing import cached_dataset
    from automl.resize import STRETCH

    if size is None and fit is None and is_dataset(Path(source)):
        return open_dataset(Path(source))
    if experiment is None:
        return cached_dataset(
            source,
            size=_SIZE if size is None else size,
            resize=STRETCH if fit is None else fit,
        )
    data = experiment.data
    return cached_dataset(
        source,
        size=data.size if size is None else size,
        resize=data.fit if fit is None else fit,
        split_seed=data.split_seed,
    )
