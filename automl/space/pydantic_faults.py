"""Pydantic's validation errors as faults, and faults as pydantic errors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from automl.space.faults import Fault, KeyPath, unknown_key, value_text, wrong_value

_FAULTS = "faults"

#: Pydantic's words, and ours; longer phrases before the shorter ones that they contain.
_WORDING = (
    ("Input should be ", ""),
    ("greater than or equal to", ">="),
    ("less than or equal to", "<="),
    ("greater than", ">"),
    ("less than", "<"),
    ("a valid integer", "a whole number"),
    ("a valid array", "a list"),
    ("a valid ", "a "),
)


def raise_faults(faults: Sequence[Fault]) -> NoReturn:
    """Leave a pydantic validator with several faults, whose paths are relative to its field."""
    text = "; ".join(map(str, faults))
    raise PydanticCustomError(_FAULTS, "{text}", {"text": text, _FAULTS: tuple(faults)})


def faults_of(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """Every fault in an error that the validation of `model` raised."""
    return [fault for detail in error.errors() for fault in _faults(detail, model)]


def _faults(detail: ErrorDetails, model: type[BaseModel]) -> Iterator[Fault]:
    path: KeyPath = detail["loc"]
    context: dict[str, Any] = detail.get("ctx", {})
    if detail["type"] == _FAULTS:
        for fault in context[_FAULTS]:
            yield fault.under(*path)
    elif detail["type"] == "extra_forbidden":
        yield unknown_key(path, list(_model_at(model, path[:-1]).model_fields))
    elif detail["type"] == "missing":
        yield Fault(path=path, problem="missing, and it has no default")
    elif detail["type"] == "literal_error":
        options = re.findall(r"'([^']*)'", context["expected"])
        allowed = f"one of {', '.join(options)}" if options else context["expected"]
        yield wrong_value(path, detail["input"], allowed, options)
    else:
        allowed = detail["msg"]
        for theirs, ours in _WORDING:
            allowed = allowed.replace(theirs, ours)
        yield Fault(path=path, problem=f"given {value_text(detail['input'])}; allowed: {allowed}")


def _model_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel]:
    """The model that a path leads to; what lies in a list or a mapping is told by its type."""
    kind: Any = model
    for part in path:
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
        elif isinstance(part, str):
            kind = kind.model_fields[part].annotation
            items = () if get_origin(kind) is dict else get_args(kind)
            kind = items[0] if items else kind
    found: type[BaseModel] = kind
    return found
