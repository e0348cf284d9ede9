from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.periods import Period
from lading.errors import UsageError


@pytest.mark.parametrize(
    ("week", "first", "last"),
    [
        ("2026-W01", date(2025, 12, 29), date(2026, 1, 4)),
        ("2026-W53", date(2026, 12, 28), date(2027, 1, 3)),
        ("2027-W01", date(2027, 1, 4), date(2027, 1, 10)),
        ("2024-W01", date(2024, 1, 1), date(2024, 1, 7)),
        ("2026-W47", date(2026, 11, 16), date(2026, 11, 22)),
    ],
)
def test_iso_week_covers_its_days(week: str, first: date, last: date) -> None:
    period = Period.week(week)
    assert (period.name, period.first_day, period.last_day) == (week, first, last)


@pytest.mark.parametrize(
    ("now", "last", "current"),
    [
        (datetime(2026, 11, 23, 0, 0, tzinfo=UTC), "2026-W47", "2026-W48"),
        (datetime(2026, 11, 22, 23, 59, 59, tzinfo=UTC), "2026-W46", "2026-W47"),
        (datetime(2027, 1, 1, 12, tzinfo=UTC), "2026-W52", "2026-W53"),
        (datetime(2027, 1, 4, 12, tzinfo=UTC), "2026-W53", "2027-W01"),
        (datetime(2026, 11, 23, 0, 30, tzinfo=timezone(timedelta(hours=1))), "2026-W46", "2026-W47"),
    ],
)
def test_last_and_current_week_are_meant_in_utc(now: datetime, last: str, current: str) -> None:
    assert Period.week("last", now=now).name == last
    assert Period.week("current", now=now).name == current


@given(st.datetimes(datetime(2001, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)))
def test_current_week_holds_now_and_follows_the_last(now: datetime) -> None:
    current, last = Period.week("current", now=now), Period.week("last", now=now)
    assert current.start <= now < current.end
    assert last.end == current.start
    assert current.start.isoweekday() == 1
    assert Period.week(current.name) == current


@pytest.mark.parametrize("week", ["2025-W53", "2026-W00", "2026-W54", "next", "", "2026-47", "2026-W1"])
def test_what_is_no_week_is_refused(week: str) -> None:
    with pytest.raises(UsageError):
        Period.week(week)


def test_days_include_the_last_one() -> None:
    period = Period.days(date(2026, 11, 1), date(2026, 11, 30))
    assert len(period.all_days) == 30
    assert period.name == "2026-11-01_2026-11-30"
    with pytest.raises(UsageError):
        Period.days(date(2026, 11, 2), date(2026, 11, 1))
    with pytest.raises(UsageError):
        Period.days(date(2020, 1, 1), date(2026, 1, 1))


def test_elapsed_days_stay_within_the_period() -> None:
    period = Period.week("2026-W47")
    assert period.elapsed_days(period.start - timedelta(days=1)) == 0
    assert period.elapsed_days(period.start + timedelta(hours=36)) == 1.5
    assert period.elapsed_days(period.end + timedelta(days=9)) == 7
