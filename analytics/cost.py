"""What traffic costs at list prices, and what the same traffic would cost from elsewhere.

Free allowances, plan fees, discounts and taxes are left out on both sides: they belong to a whole account and month,
and a week of one gateway cannot know what else used them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from analytics.prices import Prices, Tier

GB = 10**9
TB = 10**12
MILLION = 10**6
DAYS_PER_MONTH = 30
"""R2 bills GB-months of 30 days."""


@dataclass(frozen=True, slots=True)
class CostLine:
    """One item of the estimate: `quantity` in `unit`, times `unit_price`, is `amount` in US dollars."""

    item: str
    quantity: Decimal
    unit: str
    unit_price: Decimal
    amount: Decimal
    source: str


def request_cost(prices: Prices, requests: int, origin_requests: int) -> Decimal:
    """US dollars for requests to the gateway, of which some asked the object store."""
    return (requests * prices.workers.requests_million + origin_requests * prices.r2.class_b_million) / MILLION


def storage_cost(prices: Prices, stored_bytes: int, days: float) -> Decimal:
    """US dollars for keeping `stored_bytes` for some days."""
    return Decimal(stored_bytes) / GB * prices.r2.storage_gb_month * Decimal(days) / DAYS_PER_MONTH


def cost_lines(
    prices: Prices, *, requests: int, origin_requests: int, bytes_sent: int, stored_bytes: int | None, days: float
) -> list[CostLine]:
    """The estimate, item by item. Storage is left out if `stored_bytes` is None."""
    lines = [
        CostLine(
            "Gateway requests",
            Decimal(requests) / MILLION,
            "million",
            prices.workers.requests_million,
            request_cost(prices, requests, 0),
            prices.workers.source,
        ),
        CostLine(
            "Object store reads (class B)",
            Decimal(origin_requests) / MILLION,
            "million",
            prices.r2.class_b_million,
            request_cost(prices, 0, origin_requests),
            prices.r2.source,
        ),
        CostLine(
            "Egress",
            Decimal(bytes_sent) / GB,
            "GB",
            prices.r2.egress_gb,
            Decimal(bytes_sent) / GB * prices.r2.egress_gb,
            prices.r2.source,
        ),
    ]
    if stored_bytes is not None:
        lines.append(
            CostLine(
                "Storage",
                Decimal(stored_bytes) / GB * Decimal(days) / DAYS_PER_MONTH,
                "GB-month",
                prices.r2.storage_gb_month,
                storage_cost(prices, stored_bytes, days),
                prices.r2.source,
            )
        )
    return lines


def tiered_cost(tiers: Sequence[Tier], month_bytes: int | Decimal) -> Decimal:
    """US dollars for one month's traffic: each tier's price holds for the part of the traffic inside it."""
    total = Decimal(0)
    floor = Decimal(0)
    for tier in tiers:
        ceiling = Decimal(month_bytes) if tier.up_to_tb is None else min(Decimal(month_bytes), tier.up_to_tb * TB)
        if ceiling > floor:
            total += (ceiling - floor) / GB * tier.gb
            floor = ceiling
    return total


def egress_cost(tiers: Sequence[Tier], bytes_sent: int, days: float) -> Decimal:
    """US dollars for the traffic of some days, in a month that goes on like these days.

    Tiers are per month, so the traffic is scaled to 30 days, priced, and scaled back.
    """
    if bytes_sent == 0 or days <= 0:
        return Decimal(0)
    share = Decimal(days) / DAYS_PER_MONTH
    return tiered_cost(tiers, Decimal(bytes_sent) / share) * share
