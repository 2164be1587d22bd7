"""JSON Schema of the parts of an experiment file whose written form is not pydantic's own."""

from __future__ import annotations

import re
from typing import Any

from automl.space.limits import NONE, Limits
from automl.space.parameter_table import PARAMETERS
from automl.space.parameters import DEFAULTS, POLICY_PREFIX

Schema = dict[str, Any]


def space_schema() -> Schema:
    """A mapping from parameters to values or domains; names and values are checked."""
    return {
        "type": "object",
        "description": "The searched parameters; those left out have their defaults.",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": {name: _parameter(name, limits) for name, limits in PARAMETERS.items()},
    }


def points_schema() -> Schema:
    """A list of mappings from parameters to plain values."""
    point = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _value(limits) for name, limits in PARAMETERS.items()},
        "patternProperties": {f"^{re.escape(POLICY_PREFIX)}": {"type": "number"}},
    }
    return {"type": "array", "items": point}


def mapping_schema(names: tuple[str, ...], value: Schema, description: str) -> Schema:
    """A mapping whose keys are some of `names`."""
    return {
        "type": "object",
        "description": description,
        "additionalProperties": False,
        "properties": dict.fromkeys(names, value),
    }


def with_one(part: Schema, name: str, schema: Any) -> Any:
    """The schema with `part` written once, as the definition `name`, wherever it holds it."""
    shared = _referring(schema, part, {"$ref": f"#/$defs/{name}"})
    return {**shared, "$defs": {**shared.get("$defs", {}), name: part}}


def _referring(schema: Any, part: Schema, reference: Schema) -> Any:
    if schema == part:
        return reference
    if isinstance(schema, dict):
        return {key: _referring(value, part, reference) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_referring(item, part, reference) for item in schema]
    return schema


def _parameter(name: str, limits: Limits) -> Schema:
    default = {"default": DEFAULTS[name]} if name in DEFAULTS else {}
    return {
        "description": f"{limits.description} Allowed: {limits.allowed}.",
        **default,
        "anyOf": value_or_domain(limits),
    }


def value_or_domain(limits: Limits) -> list[Schema]:
    """The forms in which a parameter with these limits may be written."""
    value = _value(limits)
    forms = [value, _domain("choice", {"type": "array", "items": value, "minItems": 1}, value)]
    for kind in limits.ranges:
        number = _number(limits, kind)
        bounds = {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
        forms.append(_domain(kind, bounds, number))
    return forms


def _domain(kind: str, content: Schema, value: Schema) -> Schema:
    properties: Schema = {kind: content, "default": value, "when": when_schema()}
    if kind != "choice":
        properties["log"] = {"type": "boolean"}
    if kind == "int":
        properties["step"] = {"type": "integer", "minimum": 1}
    return {
        "type": "object",
        "required": [kind],
        "additionalProperties": False,
        "properties": properties,
    }


def when_schema() -> Schema:
    """A condition: values of other parameters."""
    scalar = {"type": ["boolean", "number", "string"]}
    values = {"anyOf": [scalar, {"type": "array", "items": scalar, "minItems": 1}]}
    return {
        "type": "object",
        "description": "The parameter exists only where each parent has one of these values.",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": dict.fromkeys(PARAMETERS, values),
    }


def _value(limits: Limits) -> Schema:
    if limits.open:
        return {"anyOf": [{"enum": list(limits.options)}, {"type": "string", "minLength": 1}]}
    if limits.options:
        return {"enum": list(limits.options)}
    if limits.kind == "text":
        return {"type": "string", "minLength": 1}
    if limits.kind == "flag_or_text":
        return {"type": ["boolean", "string"]}
    number = _number(limits, limits.kind)
    return {"anyOf": [{"const": NONE}, number]} if limits.optional else number


def _number(limits: Limits, kind: str) -> Schema:
    """A number within the limits, in a range or a value of this kind."""
    bounds = {
        "minimum": limits.low,
        "exclusiveMinimum": limits.above,
        "maximum": limits.high,
        "multipleOf": limits.multiple if kind == "int" else None,
    }
    noun = "integer" if kind == "int" else "number"
    return {"type": noun, **{key: bound for key, bound in bounds.items() if bound is not None}}
