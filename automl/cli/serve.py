"""`automl serve`: a bundle behind HTTP."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from automl.bundle.limits import MAX_MB, MAX_PIXELS, MAX_WAITING
from automl.cli.places import here

#: How long a signal to end may wait.
_LOOK_S = 0.5


def serve(
    bundle: Annotated[
        Path, typer.Argument(help="The folder of a bundle, or a packed one.", callback=here)
    ],
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 is every network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    max_mb: Annotated[int, typer.Option(min=1, help="Largest size of an image file.")] = MAX_MB,
    max_pixels: Annotated[int, typer.Option(min=1, help="Most pixels of an image.")] = MAX_PIXELS,
    max_waiting: Annotated[
        int, typer.Option(min=1, help="Requests that may wait; further ones get status 503.")
    ] = MAX_WAITING,
    batch: Annotated[
        int, typer.Option(min=1, max=64, help="Most images of the network's size in one run.")
    ] = 1,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of the model.")] = 1,
    token_file: Annotated[
        Path | None, typer.Option(help="Answer only those who send this secret.")
    ] = None,
    public_key: Annotated[
        str | None, typer.Option(help="Serve only a bundle that is signed by this key.")
    ] = None,
) -> None:
    """Answer POST /predict with masks, on Ray Serve (an extra); Ctrl-C ends it.

    The bundle is verified first. Send the bytes of an image file and get the mask as PNG, or with
    ?format=json (or Accept: application/json) as JSON with the shares of the classes. GET /health
    and /metrics (Prometheus) tell how it fares. Nothing is encrypted: put a proxy with TLS before
    it on networks that you do not trust. Needs the extra `serve`.

    Try it: curl --data-binary @photo.jpg http://127.0.0.1:8000/predict > mask.png
    """
    from automl.bundle.service import Limits
    from automl.bundle.verify import verify_bundle
    from automl.cli.bundle import read_public_key
    from automl.distributed.serving import ServeSettings, served

    limits = Limits(max_bytes=max_mb << 20, max_pixels=max_pixels, token=_token(token_file))
    report = verify_bundle(bundle, public_key=read_public_key(public_key))
    settings = ServeSettings(
        bundle=bundle.resolve(),
        host=host,
        port=port,
        limits=limits,
        threads=threads,
        batch=batch,
        max_waiting=max_waiting,
    )
    with suppress(KeyboardInterrupt), served(settings):
        # Ray sets a handler of its own when it starts, and what a script starts in the background
        # ignores Ctrl-C.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.default_int_handler)
        typer.echo(f"serve: {report.manifest.name} on {settings.url}")
        # A signal may reach another thread, which does not wake a wait without end of this one.
        while True:
            time.sleep(_LOOK_S)
    typer.echo("serve: ended")


def _token(file: Path | None) -> bytes | None:
    from automl.benchmark.secret import read_token

    return None if file is None else read_token(file).key
