"""The price list, read from `prices.toml`."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lading.errors import UsageError

Usd = Annotated[Decimal, Field(ge=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Vendor(_Section):
    source: str
    url: str


class R2Prices(_Vendor):
    """US dollars per GB and month, per million operations, and per GB of egress."""

    storage_gb_month: Usd
    class_a_million: Usd
    class_b_million: Usd
    egress_gb: Usd


class WorkersPrices(_Vendor):
    """US dollars per million requests."""

    requests_million: Usd


class Tier(_Section):
    """US dollars per GB for the part of a month's traffic up to `up_to_tb` TB; None is without end."""

    gb: Usd
    up_to_tb: Annotated[Decimal, Field(gt=0)] | None = None


class EgressPrices(_Vendor):
    """Egress by tiers, cheapest last."""

    egress_tiers: tuple[Tier, ...]

    @model_validator(mode="after")
    def _tiers_rise_to_an_open_one(self) -> EgressPrices:
        borders = [tier.up_to_tb for tier in self.egress_tiers]
        if not borders or borders[-1] is not None or None in borders[:-1]:
            raise ValueError("the last tier, and only the last, has no up_to_tb")
        closed = [border for border in borders if border is not None]
        if any(low >= high for low, high in pairwise(closed)):
            raise ValueError("up_to_tb must rise from tier to tier")
        return self


class Prices(_Section):
    """The whole list. `as_of` is the year and month in which the vendors' pages were read."""

    schema_version: Literal[1] = Field(alias="schema")
    as_of: Annotated[str, Field(pattern=r"^\d{4}-\d{2}$")]
    r2: R2Prices
    workers: WorkersPrices
    s3: EgressPrices
    cloudfront: EgressPrices

    @classmethod
    def load(cls, path: Path | None = None) -> Prices:
        """Read a price list, by default the one that comes with Lading. Raises UsageError if it is not valid."""
        try:
            text = (path or resources.files("analytics").joinpath("prices.toml")).read_text("utf-8")
            return cls.model_validate(tomllib.loads(text, parse_float=Decimal))
        except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
            raise UsageError(f"the price list {path or 'prices.toml'} is not valid: {error}") from error
