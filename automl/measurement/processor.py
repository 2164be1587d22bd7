"""The name of this machine's processor: times of one say nothing about another."""

from __future__ import annotations

import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")

#: What Linux names a processor by: on x86, or else the board that an ARM processor is on.
_NAMES = ("model name", "Model", "Hardware")


def cpu_model(cpuinfo: Path = _CPUINFO) -> str:
    """The processor's name as Linux gives it, else what Python knows of it."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    names = [told[name] for name in _NAMES if told.get(name)]
    return names[0] if names else f"{platform.machine()} {platform.processor()}".strip()
