"""The declaration of the pre-screen: `off`, or how configurations are chosen untrained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from automl.space.faults import wrong_value
from automl.space.pydantic_faults import raise_faults
from automl.space.strict import Settings

ProxyName = Literal["naswot", "synflow", "grad_norm", "params", "macs"]
PROXY_NAMES: tuple[ProxyName, ...] = get_args(ProxyName)


class ScreenSettings(Settings):
    """Random configurations are scored untrained, and the most promising ones are tried first."""

    pool: Annotated[int, Field(ge=1)] = 32
    """Random configurations to score."""
    keep: Annotated[int, Field(ge=1)] = 4
    """How many of them to try, right after the points; from fast to slow, the best of each part."""
    proxy: ProxyName = "grad_norm"
    """The score that decides. Rank correlation with trained mIoU over 24 networks of `lightweight`
    (results/benchmarks/proxies.txt): grad_norm 0.70, macs 0.62, params 0.15, synflow 0.12, naswot
    -0.05. Every report tells those of its own study."""

    @model_validator(mode="after")
    def _check_keep(self) -> Self:
        if self.keep > self.pool:
            raise_faults([wrong_value(("keep",), self.keep, f"<= {self.pool}, the pool")])
        return self


def _screen(raw: Any) -> Any:
    """`off` as None; a mapping is for `ScreenSettings` to judge."""
    if raw == "off":
        return None
    if not isinstance(raw, (Mapping, ScreenSettings)):
        allowed = "off, or a mapping such as {pool: 32, keep: 4}"
        raise_faults([wrong_value((), raw, allowed, ["off"])])
    return raw


Screen = Annotated[
    ScreenSettings | None,
    BeforeValidator(_screen),
    PlainSerializer(lambda given: "off" if given is None else given.model_dump(mode="json")),
    WithJsonSchema({"anyOf": [{"const": "off"}, ScreenSettings.model_json_schema()]}),
]
