from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lading.parallel import Ahead, cores, ordered_map


def test_results_come_in_order() -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(ordered_map(pool, lambda number: number * 2, range(100), pending=7)) == list(range(0, 200, 2))


def test_no_more_is_taken_than_may_be_pending() -> None:
    taken = []

    def source() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(2) as pool:
        results = ordered_map(pool, lambda number: number, source(), pending=3)
        for consumed in range(1, 20):
            next(results)
            assert len(taken) <= consumed + 3
        results.close()


def test_an_error_reaches_the_consumer_and_cancels_what_has_not_begun() -> None:
    begun = []
    gate = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise ValueError("broken")
        gate.wait(10)

    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(ValueError, match="broken"):
            list(ordered_map(pool, work, range(50), pending=10))
        gate.set()
    assert len(begun) <= 2


def test_there_is_a_core() -> None:
    assert cores() >= 1


def test_what_runs_ahead_gives_its_result_or_its_error() -> None:
    assert Ahead(lambda: 5).result() == 5
    with pytest.raises(ZeroDivisionError):
        Ahead(lambda: 1 // 0).result()
