"""A bundle behind HTTP, on Ray Serve: an image in, its mask as PNG out.

`serve run automl.distributed.serving:application bundle=results/camvid/bundles/best`, or
`cluster/kuberay/rayservice.yaml`. Each replica checks the bundle's checksums before it serves.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from ray import serve
from ray.serve import Application
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from automl.bundle.loading import Bundle
from automl.bundle.masks import mask_picture, png_bytes
from automl.errors import AutomlError, UsageError

#: The largest request that is read: no client makes a replica hold more.
LONGEST_BYTES = 32 * 2**20


class MaskService:
    """One replica: one bundle, one image at a time."""

    def __init__(self, bundle: str, threads: int) -> None:
        self._bundle = Bundle.load(Path(bundle), threads=threads)

    async def __call__(self, request: Request) -> Response:
        """POST an image: its mask, of its own size, as PNG with a palette. GET: the classes."""
        if request.method != "POST":
            classes = ", ".join(self._bundle.manifest.classes)
            return PlainTextResponse(f"POST an image to get its mask; classes: {classes}\n")
        content = bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > LONGEST_BYTES:
                told = f"an image may have {LONGEST_BYTES} bytes at most\n"
                return PlainTextResponse(told, status_code=413)
        return await run_in_threadpool(self._answer, bytes(content))

    def _answer(self, content: bytes) -> Response:
        try:
            with Image.open(io.BytesIO(content)) as image:
                mask_hw = self._bundle.predict(image)
        except (
            AutomlError,
            UnidentifiedImageError,
            OSError,
            Image.DecompressionBombError,
        ) as fault:
            return PlainTextResponse(f"not an image that can be used: {fault}\n", status_code=400)
        picture = mask_picture(mask_hw, self._bundle.manifest.colours)
        return Response(png_bytes(picture), media_type="image/png")


def application(words: dict[str, str]) -> Application:
    """What `serve run` and a RayService start; words: bundle=FOLDER, and threads=1 if wanted.

    Raises:
        UsageError: there is no bundle, or a word that means nothing.
    """
    unknown = set(words) - {"bundle", "threads"}
    if unknown or "bundle" not in words:
        given = ", ".join(f"{name}={value}" for name, value in words.items())
        raise UsageError(f"serving: given {given or 'nothing'}; allowed: bundle=FOLDER threads=1")
    threads = int(words.get("threads", "1"))
    deployment = serve.deployment(MaskService, ray_actor_options={"num_cpus": threads})
    bound: Application = deployment.bind(words["bundle"], threads)
    return bound
