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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from automl.data.faults import Fault
from automl.records import IGNORE

DECLARATION_FILE = "dataset.yaml"
_KEYS = ("name", "task", "classes", "ignore_index")
_MAX_LABEL = 65535


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
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        return _broken(root, path, [f"cannot be read: {error}"])
    if not isinstance(plain, dict):
        return _broken(root, path, [f"must be a mapping of {', '.join(_KEYS)}, got {plain!r}"])
    problems = [*_key_problems(plain), *_class_problems(plain), *_ignore_problems(plain)]
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


def _class_problems(plain: Mapping[object, object]) -> list[str]:
    classes = plain.get("classes")
    if classes is None:
        return []
    if not isinstance(classes, list | dict):
        return [f"classes must be a list of names or a mapping value: name, got {classes!r}"]
    names = list(classes.values()) if isinstance(classes, dict) else classes
    problems = []
    if not 2 <= len(names) <= IGNORE:
        problems.append(f"classes must be 2 to {IGNORE}, got {len(names)}")
    bad_names = [name for name in names if not isinstance(name, str | int) or name == ""]
    if bad_names:
        problems.append(f"names of classes must be texts, got {bad_names[0]!r}")
    texts = [str(name) for name in names]
    twice = sorted({text for text in texts if texts.count(text) > 1})
    if twice:
        problems.append(f"names of classes must differ, got {', '.join(twice)} more than once")
    keys = list(classes) if isinstance(classes, dict) else []
    bad_keys = [key for key in keys if not _is_label(key)]
    if bad_keys:
        problems.append(f"values in masks are 0 to {_MAX_LABEL}, got {bad_keys[0]!r} in classes")
    return problems


def _ignore_problems(plain: Mapping[object, object]) -> list[str]:
    ignored = plain.get("ignore_index")
    if ignored is None or _is_label(ignored):
        return []
    return [f"ignore_index must be a value of masks, 0 to {_MAX_LABEL}, got {ignored!r}"]


def _labels(classes: object) -> dict[int, str] | None:
    if isinstance(classes, dict):
        return {value: str(name) for value, name in sorted(classes.items())}
    if isinstance(classes, list):
        return {value: str(name) for value, name in enumerate(classes)}
    return None


def _is_label(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_LABEL
