"""The device that measures, in words. Needs no torch."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass

from automl import __version__
from automl.bundle.runtimes import versions
from automl.measurement.affinity import usable_cores
from automl.measurement.processor import cpu_model


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Where latencies were measured; `cores` are those that the process may use."""

    cpu: str
    cores: int
    machine: str
    system: str
    python: str
    automl: str
    runtimes: Mapping[str, str]

    def line(self) -> str:
        """For people."""
        runtimes = ", ".join(f"{name} {version}" for name, version in self.runtimes.items())
        return f"{self.cpu}, {self.cores} cores, {self.machine}, {self.system}; {runtimes}"


def this_device() -> Device:
    """The device that this process runs on."""
    return Device(
        cpu=cpu_model(),
        cores=usable_cores(),
        machine=platform.machine(),
        system=f"{platform.system()} {platform.release().partition('-')[0]}",
        python=platform.python_version(),
        automl=__version__,
        runtimes=versions(),
    )
