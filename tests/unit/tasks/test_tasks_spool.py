from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
import zstandard
from tasks_releases import SMALL_CHUNKING, make_release, noise, rows, shrink

from lading.frames import FrameCompressor
from lading.parameters import Compression
from tasks.hashing import hash_files
from tasks.pack import pack_shard
from tasks.plan import plan
from tasks.scan import scan
from tasks.spool import FrameSpool, Place
from tasks.work import WorkDir


def digest(data: bytes) -> bytes:
    return sha256(data).digest()


def add(spool: FrameSpool, data: bytes) -> Place | None:
    return spool.add(digest(data), memoryview(data))


def read(path: Path, place: Place | None) -> bytes:
    assert place is not None
    frame = path.read_bytes()[place.offset : place.offset + place.length]
    return zstandard.ZstdDecompressor().decompress(frame)


def test_every_frame_is_where_the_spool_says_whatever_the_threads(tmp_path: Path) -> None:
    chunks = [noise(number % 20, 50_000 + number % 20) for number in range(200)]
    with FrameSpool(tmp_path / "spool", FrameCompressor(3)) as spool, ThreadPoolExecutor(8) as pool:
        places = list(pool.map(lambda chunk: add(spool, chunk), chunks))
    assert [read(tmp_path / "spool", place) for place in places] == chunks


def test_equal_chunks_share_a_frame(tmp_path: Path) -> None:
    with FrameSpool(tmp_path / "spool", FrameCompressor(3)) as spool:
        assert add(spool, b"a" * 1000) == add(spool, b"a" * 1000)
        assert add(spool, b"b" * 1000) != add(spool, b"a" * 1000)


def test_a_full_spool_takes_no_more_and_still_finds_what_it_has(tmp_path: Path) -> None:
    with FrameSpool(tmp_path / "spool", FrameCompressor(3), limit=60_000) as spool:
        first = add(spool, noise(1, 50_000))
        assert add(spool, noise(2, 50_000)) is not None
        assert add(spool, noise(3, 50_000)) is None
        assert add(spool, noise(1, 50_000)) == first


def test_a_full_disk_ends_the_spool_and_not_the_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with FrameSpool(tmp_path / "spool", FrameCompressor(3)) as spool:
        first = add(spool, b"first")
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            assert add(spool, b"second") is None
        assert add(spool, b"third") is None
        assert add(spool, b"first") == first


def test_shards_are_the_same_with_and_without_a_spool_and_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch)
    source = tmp_path / "source"
    source.mkdir()
    for name, size in (("a", 100_000), ("b", 60_000), ("small", 10), ("twin", 100_000)):
        (source / name).write_bytes(noise(size, size))
    made = {}
    for name, compression in (("with", Compression()), ("without", None)):
        work = WorkDir(tmp_path / name)
        work.root.mkdir()
        work.prepare()
        scan(source, work.entries)
        hash_files(source, work, tmp_path / name / "cache", SMALL_CHUNKING, compression=compression)
        plan(work, None, full=True)
        if compression:
            # What is in the spool is not read again.
            for name_of_large in ("a", "b", "twin"):
                (source / name_of_large).rename(tmp_path / name_of_large)
        made[name] = pack_shard(source, work, 0, "base", Compression())
        for name_of_large in ("a", "b", "twin"):
            if compression:
                (tmp_path / name_of_large).rename(source / name_of_large)
    assert made["with"].sha256 == made["without"].sha256
    assert made["with"].path.read_bytes() == made["without"].path.read_bytes()


def test_only_what_will_all_be_packed_is_spooled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(noise(1, 100_000))
    first = make_release(source, tmp_path / "1", chunking=SMALL_CHUNKING)
    assert {row[0] is not None for row in rows(first.work.pieces, "spool_offset")} == {True}
    (source / "other").write_bytes(noise(2, 100_000))
    second = make_release(source, tmp_path / "2", first, chunking=SMALL_CHUNKING)
    assert {row[0] for row in rows(second.work.pieces, "spool_offset")} == {None}
