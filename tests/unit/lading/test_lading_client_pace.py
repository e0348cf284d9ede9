"""Pace: rate limit, stalls, slots."""

from __future__ import annotations

import threading
import time

import pytest

from lading.client import pace
from lading.client.pace import RateLimit, Slots, StallWatch, parse_rate
from lading.errors import UsageError


@pytest.mark.parametrize(
    ("text", "rate"), [("1024", 1024), ("500k", 512_000), ("2.5M", 2_621_440), ("1G", 1024**3), (" 1m ", 1024**2)]
)
def test_a_rate_is_read_with_its_unit(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "-1M", "1023", "M", "1T", "1MB", "nan", "inf", "1e999", "fast"])
def test_a_rate_that_is_none_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="not valid"):
        parse_rate(text)


def test_delays_add_up_to_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(pace.time, "monotonic", lambda: now)
    limit = RateLimit(10_000)
    for _ in range(100):
        now += limit.delay(1000)
    assert now == pytest.approx(110.0 - RateLimit.BURST_S, abs=0.2)


def test_time_without_transfers_is_not_saved_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(pace.time, "monotonic", lambda: now)
    limit = RateLimit(10_000)
    now = 1000.0
    assert limit.delay(10_000) == pytest.approx(1.0 - RateLimit.BURST_S)


def test_a_transfer_that_hardly_moves_is_noticed_and_a_slow_one_is_not() -> None:
    slow = StallWatch()
    assert not any(slow.stalled(1.0, 1000) for _ in range(300))
    stuck = StallWatch()
    assert [stuck.stalled(10.0, 1) for _ in range(3)] == [False, False, True]


def test_slots_are_halved_once_for_refusals_of_one_moment_and_come_back() -> None:
    slots = Slots(8)
    slots.shrink()
    slots.shrink()
    assert slots.limit == 4
    for _ in range(100):
        assert slots.take(threading.Event())
        slots.give_back(well=True)
    assert slots.limit == 8


def test_never_fewer_than_one_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Slots, "SHRINK_INTERVAL_S", 0.0)
    slots = Slots(4)
    for _ in range(10):
        slots.shrink()
    assert slots.limit == 1
    assert slots.take(threading.Event())


def test_waiting_for_a_slot_ends_when_another_is_given_back_or_all_is_stopped() -> None:
    slots, stop = Slots(1), threading.Event()
    assert slots.take(stop)
    threading.Timer(0.05, slots.give_back, kwargs={"well": True}).start()
    assert slots.take(stop)
    threading.Timer(0.05, stop.set).start()
    began = time.monotonic()
    assert not slots.take(stop)
    assert time.monotonic() - began < 2
