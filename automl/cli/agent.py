"""`automl agent`: this device measures for others. Loads no torch."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from automl.benchmark.agent import Agent, AgentSettings
    from automl.benchmark.secret import Token

agent_app = typer.Typer(help="Measure bundles for others, on this device.", no_args_is_help=True)


@agent_app.callback()
def _agent() -> None:
    """Measure bundles for others, on this device."""


@agent_app.command(no_args_is_help=True)
def serve(
    token_file: Annotated[
        Path, typer.Option(help="The secret shared with clients; at least 16 characters.")
    ],
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 is every network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free port.")] = 0,
    max_mb: Annotated[int, typer.Option(min=1, help="Largest size of a job's artifacts.")] = 512,
    job_seconds: Annotated[float, typer.Option(min=1, help="Longest time of a job.")] = 600,
) -> None:
    """Wait for commands with --target tcp://HOST:PORT and measure for them, one job at a time.

    These are automl benchmark, search, quantize, prune and distill. Run it on the device that will
    serve; it needs no PyTorch. Clients prove that they know the
    token without sending it, and every message is authenticated, but nothing is encrypted: use an
    SSH tunnel across networks that you do not trust. Ctrl-C ends it.

    Make a token: (umask 077; openssl rand -hex 32 > token)
    """
    from automl.benchmark.agent import AgentSettings
    from automl.benchmark.secret import read_token

    settings = AgentSettings(max_bytes=max_mb << 20, job_seconds=job_seconds)
    token = read_token(token_file)
    with _bound(host, port, token, settings) as agent:
        typer.echo(f"agent: listening on {agent.url}")
        with suppress(KeyboardInterrupt):
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            agent.serve_forever()
        typer.echo("agent: ended")


def _bound(host: str, port: int, token: Token, settings: AgentSettings) -> Agent:
    from automl.benchmark.agent import Agent
    from automl.errors import UsageError

    try:
        return Agent((host, port), token, settings, typer.echo)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}, port {port}: {error.strerror}") from error
