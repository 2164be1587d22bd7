"""Every name that a search space may hold, with its limits and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from automl.space.limits import Limits
from automl.space.parameter_table.data import DATA
from automl.space.parameter_table.loss import LOSS
from automl.space.parameter_table.network import NETWORK
from automl.space.parameter_table.steps import STEPS

PARAMETERS: Mapping[str, Limits] = MappingProxyType({**NETWORK, **LOSS, **DATA, **STEPS})
