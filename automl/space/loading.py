"""From a file, or the name of a shipped one, to an `Experiment`; all faults in one error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import automl
from automl.errors import SpaceError
from automl.space.experiment import Experiment
from automl.space.faults import Fault, FaultsError, KeyPath, key_text
from automl.space.limits import nearest
from automl.space.schema import when_schema, with_one
from automl.space.yaml_source import Source, read_yaml_file

#: Looks further into an experiment than this layer can. The second argument holds the keys that
#: have faults already: in the experiment given they have their defaults.
Check = Callable[[Experiment, Set[KeyPath]], Sequence[Fault]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What the command line may set over the file; None leaves the file's value."""

    trials: int | None = None
    epochs: int | None = None
    time_budget: str | float | None = None
    data: str | None = None
    seed: int | None = None
    workers: int | None = None


#: Where each override goes, and the option that a message about it names.
_TARGETS: Mapping[str, tuple[KeyPath, str]] = MappingProxyType(
    {
        "trials": (("search", "trials"), "--trials"),
        "epochs": (("train", "epochs"), "--epochs"),
        "time_budget": (("search", "time_budget"), "--time-budget"),
        "data": (("data", "source"), "--data"),
        "seed": (("search", "seed"), "--seed"),
        "workers": (("train", "workers"), "--workers-per-trial"),
    }
)


def load_experiment(
    path_or_name: str, overrides: Overrides | None = None, *, check: Check | None = None
) -> Experiment:
    """Read and check an experiment file; what `check` finds is told with the other faults.

    Raises:
        SpaceError: the file does not exist, or it has faults; every one is listed as
            `file:line: key: given X; allowed: Y; did you mean Z?`.
    """
    path = find_space(path_or_name)
    source = read_yaml_file(path)
    if not isinstance(source.plain, Mapping):
        raise SpaceError(f"{path}:1: an experiment is a mapping with at least the key space")
    options: dict[KeyPath, str] = {}
    plain = _overridden(_without_empty_sections(source.plain), overrides, options)
    plain = _with_absolute_weights(plain)
    faults = list(source.faults)
    try:
        experiment = Experiment.from_json(plain)
        faults += [] if check is None else check(experiment, frozenset())
    except FaultsError as error:
        faults += error.faults
        faults += [] if check is None else _checked_beside(plain, error.faults, check)
    if faults:
        # In the order of the file; overrides, which have no line, first.
        faults.sort(key=lambda fault: 0 if fault.path in options else source.line(fault.path))
        raise SpaceError("\n".join(_located(fault, path, source, options) for fault in faults))
    return experiment


def _checked_beside(
    plain: Mapping[str, Any], told: Sequence[Fault], check: Check
) -> Sequence[Fault]:
    """What `check` finds in the rest of an experiment that has faults, as far as it is possible."""
    unknown = {fault.path[:2] for fault in told}
    rest = {
        section: {key: value for key, value in content.items() if (section, key) not in unknown}
        for section, content in plain.items()
        if (section,) not in unknown and isinstance(content, Mapping)
    }
    try:
        return check(Experiment.from_json(rest), unknown)
    except FaultsError:
        return []


def _without_empty_sections(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Drop sections all of whose lines are commented out, which YAML reads as null."""
    return {name: section for name, section in plain.items() if section is not None}


def _overridden(
    plain: dict[str, Any], overrides: Overrides | None, options: dict[KeyPath, str]
) -> dict[str, Any]:
    for name, (path, option) in _TARGETS.items():
        value = None if overrides is None else getattr(overrides, name)
        section = plain.get(str(path[0]), {})
        if value is None or not isinstance(section, Mapping):
            continue
        plain = {**plain, str(path[0]): {**section, str(path[1]): value}}
        options[path] = option
    return plain


def _with_absolute_weights(plain: dict[str, Any]) -> dict[str, Any]:
    """Make paths of weights files absolute: trials may run in another folder than the user."""
    space = plain.get("space")
    if not isinstance(space, Mapping) or "pretrained" not in space:
        return plain
    form = space["pretrained"]
    if isinstance(form, Mapping) and isinstance(form.get("choice"), list):
        form = {**form, "choice": [_absolute(option) for option in form["choice"]]}
        if "default" in form:
            form["default"] = _absolute(form["default"])
    return {**plain, "space": {**space, "pretrained": _absolute(form)}}


def _absolute(option: object) -> object:
    """The absolute path of an existing file; anything else as it is, for the checks to judge."""
    is_file = isinstance(option, str) and Path(option).is_file()
    return str(Path(str(option)).absolute()) if is_file else option


def _located(fault: Fault, path: Path, source: Source, options: Mapping[KeyPath, str]) -> str:
    option = options.get(fault.path)
    if option is not None:
        return f"{option} ({key_text(fault.path)}): {fault.problem}"
    return f"{path}:{source.line(fault.path)}: {fault}"


def shipped_spaces() -> dict[str, Path]:
    """The experiment files that come with the package, by name without `.yaml`."""
    package = Path(automl.__file__).parent
    # The first is where a wheel has them, the second where a checkout does.
    for folder in (package / "search_spaces", package.parent / "search_spaces"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return {}


def find_space(name: str) -> Path:
    """The file at a path, or the shipped file of that name (with or without `.yaml`).

    Raises:
        SpaceError: neither exists; the message lists the shipped names and the nearest one.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = shipped_spaces()
    stem = name.removesuffix(".yaml")
    if stem in shipped:
        return shipped[stem]
    meant = nearest(path.name.removesuffix(".yaml"), shipped)
    hint = f"; did you mean {meant}?" if meant is not None else ""
    raise SpaceError(
        f"{name}: there is no such file, and no shipped space of this name; "
        f"shipped: {', '.join(shipped)}{hint}"
    )


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of experiment files, for editors."""
    schema = Experiment.model_json_schema()
    optional = schema["properties"].keys() - set(schema["required"])
    for name in optional:
        # A section with all of its lines commented out is null.
        section = schema["properties"][name]
        schema["properties"][name] = {"anyOf": [section, {"type": "null"}]}
    # Written out at each of some hundred domains it would make a megabyte, slow in an editor.
    shared = with_one(when_schema(), "When", schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **shared}
