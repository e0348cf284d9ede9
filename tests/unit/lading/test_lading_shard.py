from __future__ import annotations

import hashlib
import io
import itertools
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.frames import SEEK_TABLE_FOOTER_BYTES, FrameCompressor, parse_seek_table, seek_table_length
from lading.shard import (
    FRAME_BYTES,
    MAX_FRAME_BYTES,
    FinishedShard,
    Member,
    Placement,
    RawChunk,
    ShardWriter,
    chunk_path,
    padding,
)

LONG = "/".join(["long-name"] * 15)


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def file(path: str, size: int, mode: int = 0o644) -> Member:
    return Member(path, tarfile.REGTYPE, size, mode, 1_700_000_000)


def small(writer: ShardWriter, path: str, data: bytes, mode: int = 0o644) -> None:
    writer.add_small(file(path, len(data), mode), data, digest(data))


def large(writer: ShardWriter, path: str, chunks: list[bytes]) -> None:
    writer.add_large(file(path, sum(map(len, chunks))), (RawChunk(digest(chunk), chunk) for chunk in chunks))


def write(
    add: Callable[[ShardWriter], object], threads: int = 2, pending: int = 4
) -> tuple[bytes, FinishedShard, list[Placement]]:
    target = io.BytesIO()
    with (
        ThreadPoolExecutor(threads) as pool,
        ShardWriter(target, FrameCompressor(3), pool, pending_frames=pending) as writer,
    ):
        add(writer)
        finished = writer.finish()
    return target.getvalue(), finished, writer.placements


def members(shard: bytes) -> dict[str, tuple[tarfile.TarInfo, bytes | None]]:
    """What `zstd -dc | tar` finds in a shard."""
    with (
        zstandard.ZstdDecompressor().stream_reader(io.BytesIO(shard), read_across_frames=True) as reader,
        tarfile.open(fileobj=reader, mode="r|") as tar,
    ):
        found = {}
        for info in tar:
            content = tar.extractfile(info) if info.isreg() else None
            found[info.name] = (info, content.read() if content else None)
        return found


def frames(shard: bytes) -> list[bytes]:
    """The raw frames, found by the seek table."""
    table = parse_seek_table(shard[-seek_table_length(shard[-SEEK_TABLE_FOOTER_BYTES:]) :])
    ends = list(itertools.accumulate(size for size, _ in table))
    stored = [shard[end - size : end] for end, (size, _) in zip(ends, table, strict=True)]
    raw = [zstandard.ZstdDecompressor().decompress(frame) for frame in stored]
    assert [len(one) for one in raw] == [size for _, size in table]
    return raw


def placed(shard: bytes, placement: Placement) -> bytes:
    """A chunk as a client gets it: one range, one frame, one slice."""
    frame = shard[placement.frame_offset : placement.frame_offset + placement.frame_length]
    raw = zstandard.ZstdDecompressor().decompress(frame)
    return raw[placement.inner_offset : placement.inner_offset + placement.length]


def test_every_kind_of_member_comes_back() -> None:
    def add(writer: ShardWriter) -> None:
        small(writer, "plain", b"data")
        small(writer, "tool", b"#!/bin/sh", 0o755)
        small(writer, LONG, b"long")
        small(writer, "日本/ä", b"text")
        writer.add_entry(file("empty", 0))
        writer.add_entry(Member("link", tarfile.SYMTYPE, 0, 0o777, 0, "日本/" + LONG))
        writer.add_entry(Member("copy", tarfile.LNKTYPE, 0, 0o644, 0, LONG))
        writer.add_entry(Member("folder", tarfile.DIRTYPE, 0, 0o750, 0))

    found = members(write(add)[0])
    assert {name: data for name, (_, data) in found.items()} == {
        "plain": b"data",
        "tool": b"#!/bin/sh",
        LONG: b"long",
        "日本/ä": b"text",
        "empty": b"",
        "link": None,
        "copy": None,
        "folder": None,
    }
    assert len(LONG) > 100
    assert (found["tool"][0].mode, found["plain"][0].mode, found["folder"][0].mode) == (0o755, 0o644, 0o750)
    assert found["link"][0].issym()
    assert found["link"][0].linkname == "日本/" + LONG
    assert found["copy"][0].islnk()
    assert found["copy"][0].linkname == LONG
    assert found["folder"][0].isdir()
    assert found["plain"][0].mtime == 1_700_000_000
    assert {(info.uid, info.gid, info.uname, info.gname) for info, _ in found.values()} == {(0, 0, "", "")}


@pytest.mark.parametrize(("path", "size"), [("a" * 100, 512), ("a" * 101, 1536), ("ä", 1536)])
def test_a_header_takes_one_block_unless_the_name_is_long_or_not_ascii(path: str, size: int) -> None:
    assert len(file(path, 1).header()) == size


def test_small_files_share_frames_of_about_a_mebibyte() -> None:
    data = {f"{number}": bytes([number]) * 100_000 for number in range(40)}
    shard, finished, placements = write(lambda writer: [small(writer, path, content) for path, content in data.items()])
    raw = frames(shard)
    assert finished.frames == len(raw) == 4
    assert all(FRAME_BYTES <= len(one) < 2 * FRAME_BYTES for one in raw[:-1])
    assert [placed(shard, placement) for placement in placements] == list(data.values())
    assert len({placement.frame_offset for placement in placements}) == 4


def test_a_big_small_file_does_not_join_the_small_ones_before_it() -> None:
    big = b"b" * (3 * FRAME_BYTES)
    shard, _, placements = write(
        lambda writer: (small(writer, "s", b"s"), small(writer, "b", big), small(writer, "t", b"t"))
    )
    assert len({placement.frame_offset for placement in placements}) == 3
    assert [placed(shard, placement) for placement in placements] == [b"s", big, b"t"]


def test_a_large_file_is_header_then_one_frame_per_chunk_then_padding() -> None:
    chunks = [b"1" * 3000, b"2" * 2000, b"3" * 1001]

    def add(writer: ShardWriter) -> None:
        small(writer, "before", b"before")
        large(writer, "large", chunks)
        small(writer, "after", b"after")

    shard, finished, placements = write(add)
    raw = frames(shard)
    before = file("before", 6).header() + b"before" + padding(6)
    assert raw[0] == before + file("large", 6001).header()
    assert raw[1:4] == chunks
    assert raw[4] == padding(6001) + file("after", 5).header() + b"after" + padding(5) + bytes(1024)
    assert len(raw) == finished.frames == 5
    assert [placed(shard, placement) for placement in placements] == [b"before", *chunks, b"after"]
    assert [placement.inner_offset for placement in placements[1:4]] == [0, 0, 0]
    assert members(shard)["large"][1] == b"".join(chunks)


def test_a_shard_without_members_is_an_empty_tar() -> None:
    shard, finished, placements = write(lambda writer: None)
    assert members(shard) == {}
    assert (finished.frames, finished.raw_size, placements) == (1, 1024, [])


def test_what_is_finished_describes_the_bytes() -> None:
    shard, finished, _ = write(lambda writer: small(writer, "a", b"a"))
    assert finished.sha256 == hashlib.sha256(shard).hexdigest()
    assert finished.size == len(shard)
    assert finished.raw_size == sum(map(len, frames(shard)))
    assert finished.frames == len(frames(shard))


CONTENTS = st.one_of(
    st.lists(st.binary(max_size=40), min_size=1, max_size=1),
    st.lists(st.integers(1, 300_000).map(lambda size: bytes([size % 251]) * size), min_size=1, max_size=4),
)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=120)


@given(files=st.dictionaries(NAMES.filter(lambda name: name not in (".", "..")), CONTENTS, max_size=8))
@settings(max_examples=30, deadline=None)
def test_any_files_come_back_and_threads_do_not_matter(files: dict[str, list[bytes]]) -> None:
    def add(writer: ShardWriter) -> None:
        for name, chunks in files.items():
            if len(chunks) > 1:
                large(writer, name, chunks)
            elif chunks[0]:
                small(writer, name, chunks[0])
            else:
                writer.add_entry(file(name, 0))

    shard, _, placements = write(add, threads=1, pending=1)
    assert write(add, threads=4, pending=3)[0] == shard
    assert {name: data for name, (_, data) in members(shard).items()} == {
        name: b"".join(chunks) for name, chunks in files.items()
    }
    stored = [chunk for chunks in files.values() for chunk in chunks if chunk]
    assert [placed(shard, placement) for placement in placements] == stored
    assert [placement.chunk_sha256 for placement in placements] == [digest(chunk) for chunk in stored]
    assert all(len(frame) <= MAX_FRAME_BYTES for frame in frames(shard))


def test_a_failure_while_a_file_is_read_leaves_no_work_running() -> None:
    def chunks() -> object:
        yield RawChunk(digest(b"one"), b"one")
        raise OSError("gone")

    with ThreadPoolExecutor(1) as pool, pytest.raises(OSError, match="gone"):  # noqa: SIM117
        with ShardWriter(io.BytesIO(), FrameCompressor(3), pool, pending_frames=4) as writer:
            writer.add_large(file("a", 10), chunks())


def test_chunk_members_live_below_ladings_own_folder() -> None:
    assert chunk_path("ab") == ".lading/chunks/ab"
