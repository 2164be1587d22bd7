"""How much of a GPU a trial takes: several small trials may share one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import PlainValidator, WithJsonSchema

from automl.space.faults import wrong_value
from automl.space.pydantic_faults import raise_faults

#: A whole GPU first. A third has two digits, so that three of them are no more than one GPU.
SHARES = (1.0, 0.5, 0.33, 0.25)
#: What another batch, or a fragmented memory, may take more than what was measured.
_MARGIN = 0.2
#: A context of CUDA with cuDNN's and cuBLAS' kernels and workspaces; generous.
_CONTEXT_BYTES = 800 * 2**20
#: Torch refuses 0.
_LEAST = 0.01
_ALLOWED = "auto, 1, 0.5, 0.33 or 0.25"


def _gpu_share(raw: Any) -> Literal["auto"] | float:
    if raw == "auto":
        return "auto"
    if isinstance(raw, bool) or not isinstance(raw, int | float) or raw not in SHARES:
        raise_faults([wrong_value((), raw, _ALLOWED, ["auto"])])
    return float(raw)


GpuShare = Annotated[
    Literal["auto"] | float,
    PlainValidator(_gpu_share),
    WithJsonSchema(
        {
            "enum": ["auto", *SHARES],
            "description": "The part of a GPU that a trial of one worker takes on a Ray cluster; "
            "it may use no more of the memory. auto: the smallest part that a few networks of the "
            "space fit into, measured when the search begins; larger ones train in smaller pieces.",
        }
    ),
]


def smallest_share(peak_bytes: int, total_bytes: int) -> float:
    """The smallest share of a GPU in which a training fits that took `peak_bytes` at most."""
    needed = peak_bytes * (1.0 + _MARGIN)
    fitting = [s for s in SHARES if needed <= memory_fraction(s, total_bytes) * total_bytes]
    return min(fitting, default=1.0)


def memory_fraction(share: float, total_bytes: int) -> float:
    """The fraction of a GPU's memory that the tensors of a trial with this share may take.

    Each process also holds a context, with the kernels that it has loaded, beside its tensors.
    """
    if share == 1.0:
        return 1.0
    return max(_LEAST, share - _CONTEXT_BYTES / total_bytes)
