"""JSON Schema of declared policies."""

from __future__ import annotations

from typing import Any

from automl.space.policies.transforms import TRANSFORMS, TransformKind
from automl.space.schema import Schema, value_or_domain


def policies_schema() -> Schema:
    """A mapping from names to lists of transforms."""
    item = {"anyOf": [{"enum": list(TRANSFORMS)}, *_items()]}
    return {
        "type": "object",
        "description": "Augmentation policies beside the built-in ones, by name: lists of "
        "transforms, applied in order. Name them in space.augmentation.",
        "additionalProperties": {"type": "array", "minItems": 1, "items": item},
    }


def _items() -> list[Schema]:
    return [
        {
            "type": "object",
            "required": [name],
            "additionalProperties": False,
            "properties": {name: _transform(kind)},
        }
        for name, kind in TRANSFORMS.items()
    ]


def _transform(kind: TransformKind) -> Schema:
    properties: dict[str, Any] = {
        name: {
            "description": f"{limits.description} Allowed: {limits.allowed}.",
            "anyOf": value_or_domain(limits),
        }
        for name, limits in kind.limits.items()
    }
    return {
        "type": ["object", "null"],
        "description": kind.description,
        "additionalProperties": False,
        "properties": properties,
    }
