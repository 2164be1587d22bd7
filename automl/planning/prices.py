"""The prices of machines: a small file with a date, written by people (`cluster/prices.yaml`)."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from automl.errors import SpaceError, UsageError
from automl.space.faults import Fault, wrong_value
from automl.space.limits import nearest
from automl.space.pydantic_faults import faults_of, raise_faults
from automl.space.strict import Positive, Settings
from automl.space.yaml_source import Source, read_yaml_file

#: Prices that are older are told to be; spot prices change much faster.
OLD_AFTER_DAYS = 180

ProviderName = Literal["aws", "gcp", "azure"]


class InstancePrice(Settings):
    """One machine for an hour."""

    on_demand: Positive | None = None
    """Its price on demand."""
    spot: Positive | None = None
    """Its price as a spot machine."""
    devices: Annotated[int, Field(ge=0)]
    """Its GPUs."""
    speed: Positive | None = None
    """How many times as fast one device trains as the machine that plans."""

    @model_validator(mode="after")
    def _check_sold(self) -> InstancePrice:
        if self.on_demand is None and self.spot is None:
            raise_faults([Fault(path=(), problem="no price; allowed: on_demand, spot, or both")])
        return self


class ProviderPrices(Settings):
    """The machines of one provider in one region."""

    region: Annotated[str, Field(min_length=1)]
    """Where these prices hold."""
    date: str
    """When they were looked up: YYYY-MM-DD."""
    source: Annotated[str, Field(min_length=1)]
    """Where to look them up."""
    instances: dict[str, InstancePrice]
    """By instance type."""

    @field_validator("date", mode="before")
    @classmethod
    def _check_date(cls, raw: Any) -> Any:
        try:
            dt.date.fromisoformat(raw)
        except (TypeError, ValueError):
            raise_faults([wrong_value((), raw, 'a day, such as "2026-01-31"')])
        return raw

    def age_days(self, today: dt.date) -> int:
        """How old the prices are."""
        return (today - dt.date.fromisoformat(self.date)).days


class _PriceFile(Settings):
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    """As in ISO 4217: USD, EUR."""
    providers: dict[ProviderName, ProviderPrices]
    """By the provider's name in a cluster file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """The prices of all providers in one file."""

    path: Path
    currency: str
    providers: Mapping[str, ProviderPrices]

    def of_provider(self, provider: str) -> ProviderPrices:
        """The machines of a provider; raises UsageError where the file has none."""
        if provider not in self.providers:
            raise UsageError(
                f"{self.path}: providers: has no prices of {provider}; has: "
                f"{', '.join(self.providers)}"
            )
        return self.providers[provider]

    def price(self, provider: str, instance: str, *, asked_by: str) -> InstancePrice:
        """The price of an instance type; raises UsageError, naming who asked and what there is."""
        known = self.of_provider(provider).instances
        if instance not in known:
            meant = nearest(instance, known)
            hint = f"; did you mean {meant}?" if meant is not None else ""
            raise UsageError(
                f"{asked_by}: given {instance!r}, which {self.path} has no price of; it has: "
                f"{', '.join(known)}{hint} Add it there, or name another file with --prices"
            )
        return known[instance]


def read_prices(path: Path) -> PriceList:
    """Read and check a file of prices.

    Raises:
        SpaceError: it is not there or has faults; each is listed as `file:line: key: problem`.
    """
    source = read_yaml_file(path)
    parsed = _parsed(path, source)
    return PriceList(path=path, currency=parsed.currency, providers=dict(parsed.providers.items()))


def _parsed(path: Path, source: Source) -> _PriceFile:
    faults = list(source.faults)
    if not isinstance(source.plain, Mapping):
        faults.append(Fault(path=(), problem="a file of prices is a mapping: currency, providers"))
    try:
        parsed = _PriceFile.model_validate_json(json.dumps(source.plain))
    except ValidationError as error:
        faults += faults_of(error, _PriceFile) if isinstance(source.plain, Mapping) else []
    if faults:
        faults.sort(key=lambda fault: source.line(fault.path))
        raise SpaceError("\n".join(f"{path}:{source.line(f.path)}: {f}" for f in faults))
    return parsed
