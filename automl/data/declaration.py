"""`dataset.yaml`: what a folder of images and masks says about itself.

```yaml
name: tiles
classes: [background, crack]          # masks hold 0 and 1
# classes: {0: background, 255: crack}  # or name the values that the masks hold
ignore_index: 7                       # pixels that neither train nor score
```
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from automl.data.faults import Fault
from automl.errors import SpaceError
from automl.records import IGNORE
from automl.space.yaml_source import read_yaml

DECLARATION_FILE = "dataset.yaml"
_KEYS = ("name", "task", "classes", "ignore_index")
_MAX_LABEL = 65535
#: Unicode's control characters, line and paragraph separators, and lone surrogates.
_NO_TEXT = frozenset({"Cc", "Zl", "Zp", "Cs"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """The content of `dataset.yaml`; `labels` maps mask values to class names, in class order."""

    name: str
    labels: Mapping[int, str] | None = None
    ignore_index: int | None = None
    faults: tuple[Fault, ...] = ()


def _undeclared(root: Path, misnamed: Path) -> Declaration:
    if misnamed.is_file():
        return _broken(root, misnamed, [f"must be called {DECLARATION_FILE}"])
    return Declaration(name=root.resolve().name)


def read_declaration(root: Path) -> Declaration:
    """Read a folder's `dataset.yaml`; without one all is left to be inferred.

    Faults are collected, not raised.
    """
    path = root / DECLARATION_FILE
    if not path.is_file():
        return _undeclared(root, path.with_suffix(".yml"))
    try:
        source = read_yaml(path.read_text(encoding="utf-8"))
    except (SpaceError, OSError, UnicodeDecodeError) as error:
        where = "line" if isinstance(error, SpaceError) else "cannot be read:"
        return _broken(root, path, [f"{where} {error}"])
    plain = source.plain
    if not isinstance(plain, dict):
        return _broken(root, path, [f"must be a mapping of {', '.join(_KEYS)}, got {plain!r}"])
    problems = [
        *map(str, source.faults),
        *_key_problems(plain),
        *_name_problems("name", [plain["name"]] if plain.get("name") is not None else []),
        *_class_problems(plain.get("classes")),
        *_ignore_problems(plain.get("ignore_index")),
    ]
    if problems:
        return _broken(root, path, problems)
    ignored = plain.get("ignore_index")
    labels = _labels(plain.get("classes"))
    if labels is not None and ignored in labels:
        named = f"ignore_index {ignored} is also class {labels[ignored]!r}"
        hint = "leave it out of `classes` (write `classes: {value: name}` to skip a value)"
        return _broken(root, path, [f"{named}: {hint}"])
    name = plain.get("name")
    return Declaration(
        name=root.resolve().name if name is None else str(name), labels=labels, ignore_index=ignored
    )


def _broken(root: Path, path: Path, problems: list[str]) -> Declaration:
    faults = tuple(Fault(path=path, problem=problem) for problem in problems)
    return Declaration(name=root.resolve().name, faults=faults)


def _key_problems(plain: Mapping[object, object]) -> list[str]:
    problems = []
    for key in plain:
        if key not in _KEYS:
            near = difflib.get_close_matches(str(key), _KEYS, n=1)
            hint = f": did you mean {near[0]!r}?" if near else f": allowed are {', '.join(_KEYS)}"
            problems.append(f"unknown key {key!r}{hint}")
    task = plain.get("task", "segmentation")
    if task != "segmentation":
        problems.append(f"task must be 'segmentation', got {task!r}")
    return problems


def _name_problems(what: str, names: Sequence[object]) -> list[str]:
    bad = [name for name in names if not _is_name(name)]
    return [f"{what} must be text of one line, got {bad[0]!r}"] if bad else []


def _class_problems(classes: object) -> list[str]:
    if classes is None:
        return []
    if not isinstance(classes, list | dict):
        return [f"classes must be a list of names or a mapping value: name, got {classes!r}"]
    names = list(classes.values()) if isinstance(classes, dict) else classes
    problems = []
    if not 2 <= len(names) <= IGNORE:
        problems.append(f"classes must be 2 to {IGNORE}, got {len(names)}")
    problems += _name_problems("the name of a class", names)
    texts = [str(name) for name in names]
    twice = sorted({text for text in texts if texts.count(text) > 1})
    if twice:
        problems.append(f"names of classes must differ, got {', '.join(twice)} more than once")
    bad_keys = [key for key in classes if not _is_key(key)] if isinstance(classes, dict) else []
    if bad_keys:
        problems.append(f"values in masks are 0 to {_MAX_LABEL}, got {bad_keys[0]!r} in classes")
    return problems


def _ignore_problems(ignored: object) -> list[str]:
    if ignored is None or _is_label(ignored):
        return []
    return [f"ignore_index must be a value of masks, 0 to {_MAX_LABEL}, got {ignored!r}"]


def _labels(classes: object) -> dict[int, str] | None:
    if isinstance(classes, dict):
        return dict(sorted((int(value), str(name)) for value, name in classes.items()))
    if isinstance(classes, list):
        return {value: str(name) for value, name in enumerate(classes)}
    return None


def _is_name(value: object) -> bool:
    """Whether a value names something; a number does, `true` would be a slip."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return False
    text = str(value)
    return bool(text.strip()) and not any(unicodedata.category(sign) in _NO_TEXT for sign in text)


def _is_key(text: str) -> bool:
    """Whether the text of a key is a mask's value, in its one plain form: no 007, no 0x7."""
    return text.isdecimal() and str(int(text)) == text and _is_label(int(text))


def _is_label(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_LABEL
