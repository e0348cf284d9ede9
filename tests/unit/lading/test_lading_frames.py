from __future__ import annotations

import contextlib
import io
from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.errors import IntegrityError
from lading.frames import (
    SEEK_TABLE_FOOTER_BYTES,
    FrameCompressor,
    FrameDecompressor,
    parse_seek_table,
    seek_table,
    seek_table_length,
)

COMPRESS = FrameCompressor(3)
DECOMPRESS = FrameDecompressor()
LIMIT = 1 << 20
SIZES = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), max_size=50)


@given(raw=st.binary(min_size=1, max_size=5000))
@settings(deadline=None)
def test_a_frame_survives_the_round_trip(raw: bytes) -> None:
    assert DECOMPRESS(COMPRESS(raw), LIMIT) == raw


def test_a_frame_tells_its_size_and_has_a_checksum() -> None:
    parameters = zstandard.get_frame_parameters(COMPRESS(b"data"))
    assert parameters.content_size == 4
    assert parameters.has_checksum


@given(raw=st.binary(min_size=1, max_size=300), where=st.integers(0), bit=st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_damage_is_refused_or_harmless(raw: bytes, where: int, bit: int) -> None:
    """A bit of the header may be unused; what comes out is never anything but the raw bytes."""
    frame = bytearray(COMPRESS(raw))
    frame[where % len(frame)] ^= 1 << bit
    with contextlib.suppress(IntegrityError):
        assert DECOMPRESS(frame, LIMIT) == raw


def test_a_frame_larger_than_the_limit_is_refused_before_it_is_unpacked() -> None:
    frame = COMPRESS(bytes(1000))
    assert DECOMPRESS(frame, 1000) == bytes(1000)
    with pytest.raises(IntegrityError, match="more than 999 bytes"):
        DECOMPRESS(frame, 999)


def test_a_frame_that_hides_its_size_is_refused() -> None:
    hidden = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1000))
    with pytest.raises(IntegrityError):
        DECOMPRESS(hidden, LIMIT)


@pytest.mark.parametrize("frame", [b"", b"(", b"no frame at all"])
def test_what_is_no_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(IntegrityError, match="cannot be decompressed"):
        DECOMPRESS(frame, LIMIT)


def test_an_empty_frame_is_refused() -> None:
    for empty in (COMPRESS(b""), seek_table([(1, 1)])):
        with pytest.raises(IntegrityError, match="empty"):
            DECOMPRESS(empty, LIMIT)


def test_exactly_one_whole_frame_is_taken() -> None:
    frame = COMPRESS(b"data")
    for wrong in (frame[:-1], frame + b"\0", frame + frame):
        with pytest.raises(IntegrityError):
            DECOMPRESS(wrong, LIMIT)


def test_compressors_may_be_shared_between_threads() -> None:
    texts = [b"%d " % n * 20_000 for n in range(40)]
    with ThreadPoolExecutor(4) as pool:
        frames = list(pool.map(COMPRESS, texts))
        assert frames == [FrameCompressor(3)(text) for text in texts]
        assert list(pool.map(lambda frame: DECOMPRESS(frame, LIMIT), frames)) == texts


@given(sizes=SIZES)
@settings(deadline=None)
def test_a_seek_table_survives_the_round_trip(sizes: list[tuple[int, int]]) -> None:
    table = seek_table(sizes)
    assert seek_table_length(table[-SEEK_TABLE_FOOTER_BYTES:]) == len(table)
    assert parse_seek_table(table) == sizes


def test_a_seek_table_has_the_bytes_of_the_zstd_seekable_format() -> None:
    # zstd's contrib/seekable_format: skippable magic, length, entries, count, descriptor, seekable magic.
    expected = "5e2a4d18 19000000 01000000 02000000 03000000 04000000 02000000 00 b1ea928f"
    assert seek_table([(1, 2), (3, 4)]) == bytes.fromhex(expected.replace(" ", ""))


def test_a_decompressor_that_knows_no_seek_tables_skips_it() -> None:
    data = COMPRESS(b"one") + COMPRESS(b"two") + seek_table([(1, 3), (1, 3)])
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True) as reader:
        assert reader.read() == b"onetwo"


@given(sizes=SIZES, cut=st.integers(1, 30))
@settings(deadline=None)
def test_a_truncated_seek_table_is_refused(sizes: list[tuple[int, int]], cut: int) -> None:
    table = seek_table(sizes)
    for damaged in (table[:-cut], table[cut:]):
        with pytest.raises(IntegrityError):
            parse_seek_table(damaged)


@pytest.mark.parametrize("where", [0, 4, -9, -5, -1])
def test_a_changed_head_or_foot_of_a_seek_table_is_refused(where: int) -> None:
    table = bytearray(seek_table([(1, 2), (3, 4)]))
    table[where] ^= 1
    with pytest.raises(IntegrityError):
        parse_seek_table(bytes(table))
