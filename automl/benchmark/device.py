"""The device that measures, in words. Needs no torch."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from automl import __version__
from automl.bundle.runtimes import versions
from automl.measurement.affinity import usable_cores

_CPUINFO = Path("/proc/cpuinfo")
_MODEL_KEYS = ("model name", "Model", "Hardware")


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


def cpu_model(cpuinfo: Path = _CPUINFO) -> str:
    """The processor's name, from Linux where it tells one, else from Python."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    names = [told[key] for key in _MODEL_KEYS if told.get(key)]
    return names[0] if names else platform.processor() or platform.machine() or os.name
