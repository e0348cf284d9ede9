from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.cost import GB, TB, cost_lines, egress_cost, request_cost, tiered_cost
from analytics.prices import Prices
from lading.errors import UsageError

PRICES = Prices.load()
S3 = PRICES.s3.egress_tiers


@pytest.mark.parametrize(
    ("traffic", "usd"),
    [
        (0, "0"),
        (1 * GB, "0.09"),
        (10 * TB, "900"),
        (10 * TB + GB, "900.085"),
        (50 * TB, "4300"),
        (50 * TB + GB, "4300.07"),
        (150 * TB, "11300"),
        (151 * TB, "11350"),
    ],
)
def test_each_tier_prices_only_its_own_part(traffic: int, usd: str) -> None:
    assert tiered_cost(S3, traffic) == Decimal(usd)


@given(st.integers(0, 400 * TB), st.integers(0, 400 * TB))
def test_tiered_cost_rises_and_is_never_above_the_first_price(a: int, b: int) -> None:
    low, high = sorted((a, b))
    assert tiered_cost(S3, low) <= tiered_cost(S3, high) <= Decimal(high) / GB * S3[0].gb


def test_a_week_is_priced_like_its_share_of_a_month() -> None:
    # 7 days of a month with 15 TB: the month costs 900 + 425 dollars.
    assert egress_cost(S3, 15 * TB * 7 // 30, 7) == pytest.approx(Decimal(1325) * 7 / 30)
    assert egress_cost(S3, 30 * TB, 30) == tiered_cost(S3, 30 * TB)
    assert egress_cost(S3, 5, 0) == 0


def test_requests_and_reads_are_priced_per_million() -> None:
    assert request_cost(PRICES, 1_000_000, 0) == Decimal("0.30")
    assert request_cost(PRICES, 0, 1_000_000) == Decimal("0.36")


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), max_size=20))
def test_costs_of_the_parts_add_up_to_the_whole(groups: list[tuple[int, int]]) -> None:
    parts = sum((request_cost(PRICES, *group) for group in groups), Decimal(0))
    assert parts == request_cost(PRICES, sum(g[0] for g in groups), sum(g[1] for g in groups))


def test_storage_is_priced_for_the_days_it_was_kept() -> None:
    lines = cost_lines(PRICES, requests=0, origin_requests=0, bytes_sent=0, stored_bytes=1000 * GB, days=15)
    assert {line.item: line.amount for line in lines}["Storage"] == Decimal("7.5")
    without = cost_lines(PRICES, requests=0, origin_requests=0, bytes_sent=0, stored_bytes=None, days=15)
    assert "Storage" not in {line.item for line in without}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("schema = 1", "schema = 2"),
        ("storage_gb_month = 0.015", "storage_gb_month = -1"),
        ("{ gb = 0.05 },", "{ up_to_tb = 500, gb = 0.05 },"),
        ("up_to_tb = 50,", "up_to_tb = 5,"),
        ("requests_million", "request_million"),
        ("[s3]", "[s3"),
    ],
)
def test_wrong_price_list_is_refused(tmp_path: Path, old: str, new: str) -> None:
    text = (Path(__file__).parents[3] / "analytics/prices.toml").read_text("utf-8")
    assert old in text
    path = tmp_path / "prices.toml"
    path.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(UsageError, match=r"prices\.toml is not valid"):
        Prices.load(path)
