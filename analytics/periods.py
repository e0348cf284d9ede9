"""Half-open ranges of UTC time, above all ISO 8601 weeks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from lading.errors import UsageError

MAX_DAYS = 366
WEEK_PATTERN = r"^(last|current|\d{4}-W\d{2})$"
"""What `Period.week` understands; also the pattern of the flow's parameter."""

_ISO_WEEK = re.compile(r"(\d{4})-W(\d{2})")


@dataclass(frozen=True, slots=True)
class Period:
    """From `start` to before `end`, both midnight UTC. `name` is fit for a file name."""

    start: datetime
    end: datetime
    name: str

    @classmethod
    def week(cls, which: str = "last", *, now: datetime | None = None) -> Period:
        """An ISO week, Monday to Sunday: 'YYYY-Www', 'last' (the last complete one) or 'current'.

        Raises UsageError if it is none of these, or if the year has no such week.
        """
        match = _ISO_WEEK.fullmatch(which)
        if match:
            year, number = int(match[1]), int(match[2])
            try:
                monday = date.fromisocalendar(year, number, 1)
            except ValueError as error:
                raise UsageError(f"there is no ISO week {which}", "give a week like 2026-W47") from error
        elif which in ("last", "current"):
            today = (now or datetime.now(UTC)).astimezone(UTC).date()
            monday = today - timedelta(days=today.weekday() + (7 if which == "last" else 0))
        else:
            raise UsageError(f"{which!r} is no week", "give 'last', 'current' or a week like 2026-W47")
        calendar = monday.isocalendar()
        return cls(_midnight(monday), _midnight(monday) + timedelta(days=7), f"{calendar.year}-W{calendar.week:02}")

    @classmethod
    def days(cls, first: date, last: date) -> Period:
        """Whole UTC days, `last` included. Raises UsageError if they are in the wrong order or more than a year."""
        if last < first:
            raise UsageError(f"the last day {last} is before the first day {first}", "swap them")
        if (last - first).days >= MAX_DAYS:
            raise UsageError(f"{first} to {last} is more than {MAX_DAYS} days", "give a shorter range")
        return cls(_midnight(first), _midnight(last) + timedelta(days=1), f"{first}_{last}")

    @property
    def first_day(self) -> date:
        return self.start.date()

    @property
    def last_day(self) -> date:
        return self.end.date() - timedelta(days=1)

    @property
    def all_days(self) -> list[date]:
        """Every UTC day of the period, in order."""
        return [self.first_day + timedelta(days=n) for n in range((self.end - self.start).days)]

    def before(self) -> Period:
        """The period of the same length that ends where this one starts."""
        start = self.start - (self.end - self.start)
        return Period(start, self.start, f"{start.date()}_{self.start.date() - timedelta(days=1)}")

    def elapsed_days(self, now: datetime) -> float:
        """Days of the period that have passed at `now`, between 0 and its whole length."""
        passed = min(max(now, self.start), self.end) - self.start
        return passed / timedelta(days=1)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
