"""The server of a bundle as an application that Ray Serve itself starts, as on Kubernetes.

`serve run automl.distributed.serve_application:application bundle=results/camvid/bundles/best`
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ray import serve
from ray.serve import Application

from automl.benchmark.secret import MIN_TOKEN
from automl.bundle.limits import MAX_MB, MAX_PIXELS, MAX_WAITING
from automl.bundle.service import Limits
from automl.distributed.serving import BundleServer, ServeSettings
from automl.errors import UsageError

_WORDS = ("bundle", "threads", "token_file")


def application(words: Mapping[str, str]) -> Application:
    """The application; words: bundle=FOLDER, threads=1, token_file=FILE, the last two if wanted.

    Raises:
        UsageError: a word is missing, or means nothing.
    """
    if "bundle" not in words or set(words) - set(_WORDS):
        given = ", ".join(f"{name}={value}" for name, value in words.items())
        raise UsageError(f"serving: given {given or 'nothing'}; allowed: {', '.join(_WORDS)}")
    threads = int(words.get("threads", "1"))
    settings = ServeSettings(
        bundle=Path(words["bundle"]),
        # Where Serve listens is Serve's to say.
        host="127.0.0.1",
        port=8000,
        limits=Limits(
            max_bytes=MAX_MB << 20, max_pixels=MAX_PIXELS, token=_token(words.get("token_file"))
        ),
        threads=threads,
        batch=1,
        max_waiting=MAX_WAITING,
    )
    deployment = serve.deployment(
        BundleServer, ray_actor_options={"num_cpus": threads}, **settings.queue()
    )
    bound: Application = deployment.bind(settings)
    return bound


def _token(file: str | None) -> bytes | None:
    """The token; its file may be readable by a group, as the secrets of Kubernetes are."""
    if file is None:
        return None
    token = Path(file).read_bytes().strip()
    if len(token) < MIN_TOKEN:
        raise UsageError(f"{file}: a token needs at least {MIN_TOKEN} characters, got {len(token)}")
    return token
