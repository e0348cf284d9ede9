"""Which releases a policy keeps, and which policies are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lading.errors import UsageError
from lading.settings import Settings
from tasks.retention import GRACE_HOURS, Policy, make_policy, retention


def day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


CREATED = {"v1": day(1), "v2": day(2), "v3": day(3), "v4": day(4)}


@pytest.mark.parametrize(
    ("policy", "hidden", "latest", "goes"),
    [
        (Policy(), set(), "v4", set()),
        (Policy(keep_last=2), set(), "v4", {"v1", "v2"}),
        (Policy(keep_last=1), set(), "v2", {"v1", "v3"}),
        (Policy(keep_last=1), set(), None, {"v1", "v2", "v3"}),
        (Policy(keep_last=9), set(), "v4", set()),
        (Policy(keep_days=2.5), set(), "v4", {"v1", "v2"}),
        (Policy(keep_days=0), set(), "v1", {"v2", "v3", "v4"}),
        (Policy(keep_last=3, keep_days=2.5), set(), "v4", {"v1"}),
        (Policy(keep_last=1, keep_days=2.5), set(), "v4", {"v1", "v2"}),
        # A hidden release pushes no other out, and is kept as if it counted.
        (Policy(keep_last=2), {"v3"}, "v4", {"v1"}),
        (Policy(keep_last=1), {"v4"}, "v3", {"v1", "v2"}),
    ],
)
def test_a_release_goes_only_if_no_rule_keeps_it(
    policy: Policy, hidden: set[str], latest: str | None, goes: set[str]
) -> None:
    assert set(retention(CREATED, hidden, latest, policy, day(5))) == goes


@pytest.mark.parametrize(
    ("keep_last", "keep_days", "grace", "words"),
    [
        (0, None, 72, "--keep-last is 0"),
        (None, -1, 72, "--keep-days is -1"),
        (None, None, 0.9, "shorter than a token may live \\(3600 s\\); give 1 hours"),
        (None, None, 0, "shorter than a token"),
        (None, None, float("nan"), "shorter than a token"),
    ],
)
def test_a_policy_that_would_remove_what_somebody_reads_is_refused(
    keep_last: int | None, keep_days: float | None, grace: float, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        make_policy(Settings(home=Path()), keep_last, keep_days, grace)


def test_the_default_grace_outlives_every_token() -> None:
    settings = Settings(home=Path())
    assert make_policy(settings, None, None, GRACE_HOURS).grace > timedelta(seconds=24 * settings.token_max_ttl)
