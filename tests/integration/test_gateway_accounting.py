"""`bytes_sent` of a transfer that the client breaks off, against what the client has read."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from plain_workerd import read_exactly, read_head, running_gateway

MIB = 1024 * 1024
OBJECT_BYTES = 256 * MIB
CHUNK_BYTES = 512 * 1024
"""A chunk counts when the connection has taken all of it (gateway_worker/src/slices/chunks.ts)."""

READ_BYTES = (0, 100_000, 10_000_000, 100_000_000)
PAUSE_S = 0.5


def _largest_buffer(name: str) -> int:
    return int(Path(f"/proc/sys/net/ipv4/{name}").read_text().split()[2])


@pytest.mark.parametrize("slice_cache", ["disk", "off"])
def test_a_broken_transfer_is_counted_up_to_the_buffers_of_the_connection(slice_cache: str) -> None:
    # What the kernel took, and the client did not: the buffers of two sockets, and a last write that it takes whole.
    buffers = _largest_buffer("tcp_wmem") + CHUNK_BYTES + _largest_buffer("tcp_rmem")
    with running_gateway(OBJECT_BYTES, SLICE_CACHE=slice_cache) as gateway:
        for number, (wanted, pause) in enumerate((wanted, pause) for wanted in READ_BYTES for pause in (0.0, PAUSE_S)):
            client = gateway.ask(0, OBJECT_BYTES - 1)
            read_head(client)
            assert read_exactly(client, wanted) == wanted
            time.sleep(pause)
            client.close()
            event = gateway.event(number)
            assert (event["completed"], event["code"], event["bytes_expected"]) == (False, "aborted", OBJECT_BYTES)
            excess = event["bytes_sent"] - wanted
            print(f"{slice_cache}: read {wanted}, paused {pause} s: bytes_sent is {excess:+d}")
            assert -CHUNK_BYTES <= excess <= buffers


def test_a_client_with_small_buffers_is_counted_closely() -> None:
    with running_gateway(OBJECT_BYTES, SLICE_CACHE="off") as gateway:
        client = gateway.ask(0, OBJECT_BYTES - 1, receive_buffer=65_536)
        read_head(client)
        assert read_exactly(client, 20 * MIB) == 20 * MIB
        time.sleep(PAUSE_S)
        client.close()
        excess = gateway.event(0)["bytes_sent"] - 20 * MIB
        # The last write that the kernel takes whole; and of ten closed connections, two took one more before it failed.
        last_writes = 2 * CHUNK_BYTES
        assert -CHUNK_BYTES <= excess <= _largest_buffer("tcp_wmem") + last_writes + 2 * 65_536


def test_complete_transfers_are_counted_exactly() -> None:
    with running_gateway(OBJECT_BYTES) as gateway:
        for number, length in enumerate((1, 65_536, 65_537, 8 * MIB, 8 * MIB + 1, 20 * MIB + 3)):
            client = gateway.ask(5, 5 + length - 1)
            read_head(client)
            assert read_exactly(client, OBJECT_BYTES) == length
            client.close()
            event = gateway.event(number)
            assert (event["completed"], event["code"], event["bytes_sent"]) == (True, "ok", length)


def test_a_client_that_leaves_before_the_answer_leaves_an_event() -> None:
    with running_gateway(OBJECT_BYTES, store_delay_s=1.0, SLICE_CACHE="off") as gateway:
        client = gateway.ask(0, OBJECT_BYTES - 1)
        time.sleep(PAUSE_S)
        client.close()
        event = gateway.event(0)
        assert (event["completed"], event["code"]) == (False, "aborted")
        # A closed connection takes one write before the next one fails.
        assert 0 <= event["bytes_sent"] <= CHUNK_BYTES
