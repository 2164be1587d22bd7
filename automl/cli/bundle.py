"""`automl bundle`: bundles verified, inspected, packed, signed, migrated, made for batches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.cli.places import here, written_here

if TYPE_CHECKING:
    from automl.bundle.signature import PublicKey

_HELP = "Verify, inspect, pack, sign and migrate bundles."

bundle_app = typer.Typer(help=_HELP, no_args_is_help=True)

Bundle = Annotated[
    Path, typer.Argument(help="The folder of a bundle, or a packed one.", callback=here)
]
#: One that the command changes.
OwnBundle = Annotated[
    Path, typer.Argument(help="The folder of a bundle, or a packed one.", callback=written_here)
]
Key = Annotated[
    str | None,
    typer.Option(help="Also demand a signature by this key: its file, or the key itself."),
]


@bundle_app.callback()
def _bundle() -> None:
    """Verify, inspect, pack, sign and migrate bundles."""


@bundle_app.command(no_args_is_help=True)
def verify(bundle: Bundle, public_key: Key = None) -> None:
    """Check every file of a bundle and replay its golden samples; exit code 2 on any fault.

    Next: automl predict BUNDLE photo.jpg --out mask.png
    """
    from automl.bundle.verify import verify_bundle

    report = verify_bundle(bundle, public_key=read_public_key(public_key))
    for line in report.lines():
        typer.echo(line)


@bundle_app.command(no_args_is_help=True)
def inspect(bundle: Bundle) -> None:
    """Tell what a bundle says of itself: input, cost, origin, and the IoU of each class.

    Files are checked against their checksums; nothing is run. Scores have 95 % intervals over the
    images of their split.

    Try it: automl bundle inspect results/quickstart/bundles/best
    """
    from automl.bundle.inspection import inspection_lines
    from automl.bundle.loading import load_sound

    for line in inspection_lines(load_sound(bundle).manifest):
        typer.echo(line)


@bundle_app.command(no_args_is_help=True)
def pack(
    bundle: Annotated[Path, typer.Argument(help="The folder of a bundle.", callback=here)],
    out: Annotated[
        Path, typer.Option(help="The file to write; ends in .automl.zip.", callback=written_here)
    ],
) -> None:
    """Make one file of a bundle; the same bundle gives the same bytes.

    Every command that takes a bundle takes the packed file as well.

    Try it: automl bundle pack results/quickstart/bundles/best --out best.automl.zip
    """
    from automl.bundle.files import sha256
    from automl.bundle.packing import pack_bundle

    count = pack_bundle(bundle, out)
    typer.echo(f"{out}: {count} files, SHA-256 {sha256(out.read_bytes())}")


@bundle_app.command(no_args_is_help=True)
def unpack(
    packed: Annotated[Path, typer.Argument(help="A packed bundle.", callback=here)],
    out: Annotated[Path, typer.Option(help="The new folder to write.", callback=written_here)],
) -> None:
    """Make a folder of a packed bundle, after all of it was checked."""
    from automl.bundle.packing import unpack_bundle

    count = unpack_bundle(packed, out)
    typer.echo(f"{out}: {count} files")


@bundle_app.command(no_args_is_help=True)
def keygen(
    key: Annotated[Path, typer.Argument(help="The secret key to write; ends in .key.")],
) -> None:
    """Make a key pair (Ed25519): NAME.key, which stays secret, and NAME.pub beside it.

    Both are files of minisign; the secret one has no password and is readable by you alone.

    Next: automl bundle sign BUNDLE --key NAME.key
    """
    from automl.bundle.keys import make_key_files

    public = make_key_files(key)
    typer.echo(f"secret key: {key} (keep it; readable by you alone)")
    typer.echo(f"public key: {key.with_suffix('.pub')} (give it to those who check)")
    typer.echo(public.text().splitlines()[-1])


@bundle_app.command(no_args_is_help=True)
def sign(
    bundle: OwnBundle,
    key: Annotated[Path, typer.Option(help="The secret key, see automl bundle keygen.")],
) -> None:
    """Sign the checksums of a bundle, and by them every file; replaces an earlier signature.

    Next: automl bundle verify BUNDLE --public-key NAME.pub
    """
    from automl.bundle.amending import sign_bundle
    from automl.bundle.keys import SecretKey
    from automl.bundle.signature import shown_id

    secret = SecretKey.read(key)
    sign_bundle(bundle, secret)
    typer.echo(f"{bundle}: signed by key {shown_id(secret.key_id)}")


@bundle_app.command(no_args_is_help=True)
def migrate(bundle: OwnBundle) -> None:
    """Rewrite the manifest of a bundle of an earlier version in the present one.

    Bundles of earlier versions are read as they are; this is for other programs that read only the
    present schema. A signature is dropped, since it is one of the earlier manifest.
    """
    from automl.bundle.amending import migrate_bundle

    done = migrate_bundle(bundle)
    typer.echo(f"{bundle}: schema_version {done.before} became {done.after}")
    if done.lost_signature is not None:
        typer.echo(f"  its signature by key {done.lost_signature} was dropped: sign it again")


@bundle_app.command()
def schema() -> None:
    """Print the JSON Schema of bundle.json, for programs that read bundles."""
    from automl.bundle.manifest import manifest_schema
    from automl.store.atomic import json_text

    typer.echo(json_text(manifest_schema()), nl=False)


@bundle_app.command(no_args_is_help=True)
def batch(
    bundle: Bundle,
    out: Annotated[
        Path, typer.Option(help="The file to write; ends in .onnx.", callback=written_here)
    ],
    size: Annotated[
        int, typer.Option(min=0, max=1024, help="Images at once; 0 is any number.")
    ] = 0,
) -> None:
    """Write the bundle's network for several images at once, at the network's own size.

    The file takes `images`, uint8 (N, h, w, 3), and gives `masks`, uint8 (N, h, w). It is first
    compared with the bundle's own file; a network that works on single images only is refused.

    Try it: automl bundle batch results/quickstart/bundles/best --size 8 --out best-8.onnx
    """
    from automl.bundle.batched import ANY, write_batched

    height, width = write_batched(bundle, out, batch=ANY if size == 0 else size)
    count = "any number of images" if size == 0 else f"{size} images"
    typer.echo(f"{out}: {count} of {width} x {height} pixels at once, checked against {bundle}")


def read_public_key(given: str | None) -> PublicKey | None:
    """The key of an option `--public-key`; raises UsageError."""
    from automl.bundle.signature import PublicKey

    return None if given is None else PublicKey.read(given)
