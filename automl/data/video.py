"""Frames of a video, decoded one at a time by OpenCV, which is imported only here and then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from automl.data.decode import UInt8
from automl.errors import DataError, UsageError

#: How the names of videos end.
VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"})


def read_frames(path: Path, *, every: int = 1) -> Iterator[tuple[int, UInt8]]:
    """The number, from 0, and the RGB pixels (H, W, 3) of each `every`-th frame, upright.

    Raises DataError for a file without a frame that can be read, UsageError without OpenCV.
    """
    try:
        import cv2  # noqa: PLC0415  (serving needs it for videos alone)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{path}: videos need OpenCV: pip install opencv-python-headless"
        ) from error
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    capture = cv2.VideoCapture(str(path))
    number = 0
    try:
        while capture.grab():
            if number % every == 0:
                is_read, frame_bgr = capture.retrieve()
                if is_read:
                    yield number, np.ascontiguousarray(frame_bgr[..., ::-1])
            number += 1
    finally:
        capture.release()
    if number == 0:
        raise DataError(f"{path}: cannot be read as a video: OpenCV finds no frame in it")
