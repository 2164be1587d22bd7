"""The classes that a network knows, found again by name in data that it meets later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from automl.data.dataset import UInt8
from automl.data.declaration import DECLARATION_FILE
from automl.data.faults import Fault
from automl.records import IGNORE


def class_table(classes: Sequence[str], known: Sequence[str]) -> UInt8:
    """For each index of `classes` the index of the same name in `known`; 255 stays.

    `known` must hold all of them.
    """
    table = np.full(IGNORE + 1, IGNORE, np.uint8)
    table[: len(classes)] = [known.index(name) for name in classes]
    return table


def unknown_classes(root: Path, classes: Sequence[str], known: Sequence[str]) -> list[Fault]:
    """A fault where `classes` has names that `known` has not."""
    unknown = [name for name in classes if name not in known]
    if not unknown:
        return []
    problem = (
        f"the network does not know {', '.join(unknown)}; allowed: {', '.join(known)}, in any "
        f"order, and some may be absent. {DECLARATION_FILE} names the values of the masks: "
        f"`classes: {{0: {known[0]}, 1: {known[1]}}}`"
    )
    return [Fault(path=root / DECLARATION_FILE, problem=problem)]
