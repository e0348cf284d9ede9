"""The gateway's memory: sixteen ranges at once, of clients that stall, from an object much larger than the memory."""

from __future__ import annotations

import concurrent.futures
import socket
import threading
import time

import pytest
from plain_workerd import Gateway, read_exactly, read_head, running_gateway

MIB = 1024 * 1024
OBJECT_BYTES = 1024 * MIB
PARALLEL = 16
STEP = OBJECT_BYTES // PARALLEL
STALL_S = 2.0

MAX_GROWTH_BYTES = 200 * MIB
"""Measured: 90 to 125 MiB for the whole process, of which the isolate (128 MB on Cloudflare) has at most 36 MiB; the
rest is workerd's own, for connections and what its allocator keeps. Unbounded buffering of 1 GiB would show at once."""


class Peak:
    """The largest resident size of a process, looked at every few milliseconds."""

    def __init__(self, gateway: Gateway) -> None:
        self.bytes = 0
        self._gateway = gateway
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.bytes = max(self.bytes, self._gateway.resident_bytes())


def _finish(client: socket.socket) -> int:
    with client:
        return read_exactly(client, STEP)


@pytest.mark.slow
@pytest.mark.parametrize("slice_cache", ["disk", "off"])
def test_memory_is_bounded_whatever_the_object_and_its_readers_do(slice_cache: str) -> None:
    with running_gateway(OBJECT_BYTES, SLICE_CACHE=slice_cache) as gateway:
        with gateway.ask(0, 999) as client:
            read_head(client)
            assert read_exactly(client, 1000) == 1000
        before = gateway.resident_bytes()
        for state in ("cold", "warm"):
            with Peak(gateway) as peak, concurrent.futures.ThreadPoolExecutor(PARALLEL) as readers:
                clients = [gateway.ask(index * STEP, (index + 1) * STEP - 1) for index in range(PARALLEL)]
                for client in clients:
                    read_head(client)
                    assert read_exactly(client, MIB) == MIB
                time.sleep(STALL_S)
                assert list(readers.map(_finish, clients)) == [STEP - MIB] * PARALLEL
            growth = peak.bytes - before
            print(f"{slice_cache}, {state}: {before / MIB:.0f} MiB before, {growth / MIB:.0f} MiB more at the peak")
            assert growth < MAX_GROWTH_BYTES
