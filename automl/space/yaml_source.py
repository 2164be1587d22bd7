"""YAML read with the line of every key, duplicate keys found, and scalars as YAML 1.2 has them.

PyYAML follows YAML 1.1, in which `1e-4` is text, `no` is false, `010` is 8 and `1:30` is 90. The
core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema) has no such surprises.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from automl.errors import SpaceError
from automl.space.faults import Fault, KeyPath


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of the YAML 1.2 core schema."""


# An own table: without it, the resolvers of YAML 1.1 would be copied from the base class.
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
):
    _first_characters = ["" if character == "\0" else character for character in _first]
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first_characters
    )


def _decimal(_: yaml.SafeLoader, node: yaml.Node) -> int:
    return int(str(node.value))


_Loader.add_constructor("tag:yaml.org,2002:int", _decimal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A document as plain values, with the line of each key and list item, counted from 1."""

    plain: object
    lines: Mapping[KeyPath, int]
    faults: tuple[Fault, ...]

    def line(self, path: KeyPath) -> int:
        """The line of a key, or of the nearest one above it that the document has."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_yaml(text: str) -> Source:
    """Read one document.

    Raises:
        SpaceError: `LINE: problem`, where the text is no YAML at all.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        walk = _Walk(loader=loader)
        plain = None if node is None else walk.value(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = 1 if mark is None else mark.line + 1
        raise SpaceError(f"{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise SpaceError(f"1: not valid YAML: {error}") from None
    finally:
        loader.dispose()
    return Source(plain=plain, lines=walk.lines, faults=tuple(walk.faults))


def read_yaml_file(path: Path) -> Source:
    """Read the document that a file holds.

    Raises:
        SpaceError: it cannot be read, or `FILE:LINE: problem`, where it is no YAML at all.
    """
    try:
        return read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SpaceError(f"{path}: cannot be read: {error}") from None
    except SpaceError as error:
        raise SpaceError(f"{path}:{error}") from None


@dataclass(slots=True, kw_only=True)
class _Walk:
    """Turns nodes into plain values and notes what it meets on the way."""

    loader: _Loader
    lines: dict[KeyPath, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    _open: list[yaml.Node] = field(default_factory=list)

    def value(self, node: yaml.Node, path: KeyPath) -> object:
        if any(node is above for above in self._open):
            self.faults.append(Fault(path=path, problem="an alias must not contain itself"))
            return None
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self._item(item, (*path, i)) for i, item in enumerate(node.value)]
            return self.loader.construct_object(node)
        finally:
            self._open.pop()

    def _item(self, node: yaml.Node, path: KeyPath) -> object:
        self.lines[path] = node.start_mark.line + 1
        return self.value(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = str(getattr(key_node, "value", "")) if _is_plain(key_node) else "?"
            line = key_node.start_mark.line + 1
            if key in values:
                first = self.lines[(*path, key)]
                problem = f"this key is given twice, in line {first} and in line {line}"
                self.faults.append(Fault(path=(*path, key), problem=problem))
                continue
            self.lines[(*path, key)] = line
            values[key] = self.value(value_node, (*path, key))
        return values


def _is_plain(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode)
