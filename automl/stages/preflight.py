"""What can be known to fail is told before any work starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from importlib.util import find_spec
from itertools import product

from automl.bundle.runtimes import absence, versions
from automl.fidelity import scaled_size
from automl.models.build import check_names, check_sizes
from automl.records import Scalar
from automl.space.domains import Choice
from automl.space.experiment import Experiment
from automl.space.faults import Fault, KeyPath
from automl.space.parameters import DEFAULTS, parameters_from

_MODEL_NAMES = ("encoder", "decoder", "pretrained")

#: What decides, beside its name, whether an encoder gives the maps that are needed.
_SHAPES: frozenset[KeyPath] = frozenset({("data",), ("data", "size"), ("space", "decoder")})


def model_faults(experiment: Experiment, unknown: Set[KeyPath]) -> list[Fault]:
    """Check each encoder with each decoder and each source of weights, and the smallest batch.

    Gives every name and every pair that cannot be built. `unknown` are keys whose own faults are
    told elsewhere; in `experiment` they have their defaults, on which nothing is built here.
    """
    options = [_options(experiment, name) for name in _MODEL_NAMES]
    faults: dict[Fault, None] = {}
    for values in product(*options):
        named = dict(zip(_MODEL_NAMES, values, strict=True))
        if _possible(experiment, named):
            faults |= dict.fromkeys(_faults(experiment, named, unknown))
    faults |= dict.fromkeys(_batch_faults(experiment))
    faults |= dict.fromkeys(_runtime_faults(experiment))
    return list(faults)


def _runtime_faults(experiment: Experiment) -> Iterator[Fault]:
    """A runtime that is not here, or what lays INT8 out for it: one extra has both."""
    runtime, int8 = experiment.target.runtime, experiment.compress.int8
    missing = absence(runtime, versions())
    if missing is not None:
        yield Fault(path=("target", "runtime"), problem=f"given {runtime}; {missing}")
    elif int8 is not None and "nncf" in int8.rungs_in(runtime) and find_spec("nncf") is None:
        problem = "nncf is not available here: install the extra automl[openvino]"
        yield Fault(path=("compress", "int8", "rungs"), problem=problem)


def _faults(
    experiment: Experiment, named: Mapping[str, Scalar], unknown: Set[KeyPath]
) -> Iterator[Fault]:
    spec = parameters_from(named).model_spec()
    shapes_are_known = not unknown & _SHAPES
    found = check_sizes(spec, _sizes(experiment)) if shapes_are_known else check_names(spec)
    for fault in found:
        name = str(fault.path[0])
        yield Fault(path=_place(experiment, name, named[name]), problem=fault.problem)


def _sizes(experiment: Experiment) -> list[tuple[int, int]]:
    """The size at which networks are built, and the smaller ones at which they train, too."""
    size = experiment.data.size
    shares = [stretch.size_share for stretch in experiment.fidelity.stretches]
    return list(dict.fromkeys([size, *(scaled_size(size, share) for share in shares)]))


def _batch_faults(experiment: Experiment) -> Iterator[Fault]:
    workers = experiment.train.workers
    smallest = min(int(value) for value in _bounds(experiment, "batch_size"))
    if smallest < workers:
        problem = f"given {smallest}; allowed: >= {workers}, one image a worker"
        yield Fault(path=_place(experiment, "batch_size", smallest), problem=problem)


def _place(experiment: Experiment, name: str, value: Scalar) -> KeyPath:
    """Where the file says that a parameter may have this value."""
    domain = experiment.space.domains.get(name)
    if isinstance(domain, Choice) and len(domain.options) > 1:
        return ("space", name, "choice", domain.options.index(value))
    return ("space", name)


def _options(experiment: Experiment, name: str) -> tuple[Scalar, ...]:
    domain = experiment.space.domains.get(name)
    return domain.options if isinstance(domain, Choice) else (DEFAULTS[name],)


def _possible(experiment: Experiment, named: Mapping[str, Scalar]) -> bool:
    """Whether the conditions of the space let these values meet."""
    space = experiment.space
    return all(space.is_active(name, named) for name in named if name in space.domains)


def _bounds(experiment: Experiment, name: str) -> tuple[Scalar, ...]:
    domain = experiment.space.domains.get(name)
    if domain is None:
        return (DEFAULTS[name],)
    return domain.options if isinstance(domain, Choice) else (domain.low,)
