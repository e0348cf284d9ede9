from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pyfastcdc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lading.chunking
from lading.chunking import Cutter
from lading.parameters import Chunking

SMALL = Chunking(min=1024, avg=4096, max=16384)


def noise(seed: int, size: int) -> bytes:
    return hashlib.shake_128(seed.to_bytes(8, "big")).digest(size)


def reference(data: bytes) -> list[bytes]:
    """The chunks that FastCDC gives for the whole at once."""
    cutter = pyfastcdc.FastCDC(
        SMALL.avg, min_size=SMALL.min, max_size=SMALL.max, normalized_chunking=SMALL.normalization, seed=SMALL.seed
    )
    return [bytes(chunk.data) for chunk in cutter.cut_buf(data)]


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lading.chunking, "SEGMENT_BYTES", 1)


@given(
    parts=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 70_000)), max_size=6),
    zeros=st.integers(0, 200_000),
)
@settings(deadline=None, max_examples=60)
def test_cuts_do_not_depend_on_where_segments_end(parts: list[tuple[int, int]], zeros: int) -> None:
    data = b"".join(noise(seed, size) for seed, size in parts) + bytes(zeros)
    cutter = Cutter(SMALL)
    for _ in range(2):
        chunks = [bytes(chunk) for segment in cutter.segments(io.BytesIO(data)) for chunk in segment]
        assert chunks == reference(data)


def test_a_segment_is_valid_while_the_next_one_is_read() -> None:
    data = noise(1, 1_000_000)
    chunks: list[bytes] = []
    before: list[memoryview] = []
    for segment in Cutter(SMALL).segments(io.BytesIO(data)):
        chunks += map(bytes, before)
        before = segment
    chunks += map(bytes, before)
    assert b"".join(chunks) == data


def test_short_reads_make_no_difference(tmp_path: Path) -> None:
    class Dribbling(io.BytesIO):
        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            return super().readinto(buffer[:777])

    data = noise(2, 300_000)
    chunks = [bytes(chunk) for segment in Cutter(SMALL).segments(Dribbling(data)) for chunk in segment]
    assert chunks == reference(data)


def test_an_empty_file_has_no_chunks() -> None:
    assert list(Cutter(SMALL).segments(io.BytesIO())) == []
