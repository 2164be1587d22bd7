"""Manifests of earlier versions, brought to the present one step by step. Needs no torch.

A version is never changed once it was written; what has to change makes the next one, and a step
from the version before it. Steps work on plain JSON: the records of earlier versions are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from automl.errors import BundleError

Plain = dict[str, Any]


def _to_2(plain: Plain) -> Plain:
    """Version 2 tells the digests of network and file."""
    return _with_new(plain, digests=None)


def _to_3(plain: Plain) -> Plain:
    """Version 3 tells intervals, the runtime of scores, and how images come to the network.

    Before, all images were stretched and all scores were ONNX Runtime's.
    """
    resize = {"mode": "stretch", "padding": None}
    told = _with_new_within(plain, "input", resize=resize)
    return _with_new(told, intervals={}, metrics_runtime="onnxruntime")


#: The step from each earlier version to the next one.
STEPS: Mapping[int, Callable[[Plain], Plain]] = {1: _to_2, 2: _to_3}


def migrated(plain: object, *, to: int) -> Plain:
    """A manifest as version `to` would have it; raises BundleError for a version that is not known.

    Nothing is checked but the version: a fault of an earlier manifest is one of the present form.
    """
    version = plain.get("schema_version") if isinstance(plain, dict) else None
    if not isinstance(plain, dict) or type(version) is not int or version < min(STEPS):
        raise BundleError(f"schema_version {version!r} is not known, this program reads 1 to {to}")
    if version > to:
        raise BundleError(
            f"schema_version {version} is newer than this program, which reads 1 to {to}: "
            "use the version of automl that wrote the bundle, or a later one"
        )
    for step in range(version, to):
        plain = {**STEPS[step](plain), "schema_version": step + 1}
    return plain


def _with_new_within(plain: Plain, section: str, **new: object) -> Plain:
    """The same of a section; one that is no mapping is a fault that is told later."""
    known = plain.get(section)
    if not isinstance(known, dict):
        return plain
    early = sorted(known.keys() & new.keys())
    if early:
        raise BundleError(_early(f"{section}.{early[0]}", plain))
    return {**plain, section: {**known, **new}}


def _early(key: str, plain: Plain) -> str:
    return f"{key}: schema_version {plain['schema_version']} has no such key"


def _with_new(plain: Plain, **new: object) -> Plain:
    """A manifest with the keys that its version did not have yet."""
    early = sorted(plain.keys() & new.keys())
    if early:
        raise BundleError(_early(early[0], plain))
    return plain | new
