from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tasks_releases import SMALL_CHUNKING, noise, rows, shrink

from lading.errors import SourceError
from lading.parameters import Chunking
from lading.tables import Tables
from tasks import hash_cache, hashing
from tasks.hashing import HashSummary, batches, hash_files
from tasks.scan import scan
from tasks.work import WorkDir

HOUR_AGO = time.time() - 3600


class Bench:
    """A source folder, a cache, and one scan and hash after the other."""

    def __init__(self, root: Path) -> None:
        self.source = root / "source"
        self.source.mkdir()
        self.cache = root / "cache"
        self.work = WorkDir(root / "work")
        self.work.root.mkdir()

    def put(self, path: str, data: bytes, mtime: float = HOUR_AGO) -> None:
        (self.source / path).write_bytes(data)
        os.utime(self.source / path, (mtime, mtime))

    def hash(self, *, rehash: bool = False, chunking: Chunking = SMALL_CHUNKING) -> HashSummary:
        scan(self.source, self.work.entries)
        return self.hash_what_was_scanned(rehash=rehash, chunking=chunking)

    def hash_what_was_scanned(self, *, rehash: bool = False, chunking: Chunking = SMALL_CHUNKING) -> HashSummary:
        return hash_files(self.source, self.work, self.cache, chunking, rehash=rehash, threads=2)

    def hashes(self) -> dict[str, bytes]:
        return dict(rows(self.work.entries, "path, sha256"))

    def pieces(self) -> list[tuple[object, ...]]:
        return rows(self.work.pieces, "path, seq, chunk_offset, length, chunk_sha256")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    shrink(monkeypatch)
    return Bench(tmp_path)


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def test_a_small_file_is_one_chunk_of_its_own_hash(bench: Bench) -> None:
    bench.put("small", b"data")
    bench.put("empty", b"")
    assert bench.hash() == HashSummary(read_files=2, read_bytes=4, cached_files=0, cached_bytes=0)
    assert bench.hashes() == {"small": digest(b"data"), "empty": digest(b"")}
    assert bench.pieces() == [("small", 0, 0, 4, digest(b"data"))]


def test_a_large_file_is_cut_into_chunks_that_cover_it(bench: Bench) -> None:
    data = noise(1, 100_000)
    bench.put("large", data)
    bench.hash()
    assert bench.hashes() == {"large": digest(data)}
    pieces = bench.pieces()
    assert len(pieces) > 5
    assert [(piece[1], piece[2]) for piece in pieces] == [
        (seq, sum(other[3] for other in pieces[:seq])) for seq in range(len(pieces))
    ]
    assert b"".join(data[piece[2] : piece[2] + piece[3]] for piece in pieces) == data
    assert all(digest(data[piece[2] : piece[2] + piece[3]]) == piece[4] for piece in pieces)


def test_links_and_folders_have_no_hash(bench: Bench) -> None:
    bench.put("file", b"data")
    (bench.source / "link").symlink_to("file")
    (bench.source / "folder").mkdir()
    bench.hash()
    assert bench.hashes() == {"file": digest(b"data"), "link": None, "folder": None}


def test_what_did_not_change_is_not_read_again(bench: Bench) -> None:
    bench.put("small", b"data")
    bench.put("large", noise(1, 100_000))
    bench.hash()
    before = (bench.hashes(), bench.pieces())
    assert bench.hash() == HashSummary(read_files=0, read_bytes=0, cached_files=2, cached_bytes=100_004)
    assert (bench.hashes(), bench.pieces()) == before


def test_only_what_changed_is_read(bench: Bench) -> None:
    bench.put("stays", b"data")
    bench.put("changes", noise(1, 100_000))
    bench.put("goes", b"data")
    bench.hash()
    bench.put("changes", noise(2, 100_001))
    bench.put("comes", b"data")
    (bench.source / "goes").unlink()
    summary = bench.hash()
    assert (summary.read_files, summary.cached_files) == (2, 1)
    assert bench.hashes() == {"stays": digest(b"data"), "changes": digest(noise(2, 100_001)), "comes": digest(b"data")}
    assert sum(piece[3] for piece in bench.pieces() if piece[0] == "changes") == 100_001


@pytest.mark.parametrize("change", ["size", "mtime", "inode"])
def test_a_change_of_size_mtime_or_inode_misses_the_cache(bench: Bench, change: str) -> None:
    bench.put("file", b"data")
    bench.hash()
    match change:
        case "size":
            bench.put("file", b"longer")
        case "mtime":
            bench.put("file", b"DATA", HOUR_AGO + 1)
        case "inode":
            bench.put("other", b"DATA")
            (bench.source / "other").rename(bench.source / "file")
    assert bench.hash().read_files == 1
    assert bench.hashes() == {"file": digest((bench.source / "file").read_bytes())}


def test_rehash_reads_everything(bench: Bench) -> None:
    bench.put("file", b"data")
    bench.hash()
    assert bench.hash().cached_files == 1
    assert bench.hash(rehash=True).read_files == 1
    assert bench.hashes() == {"file": digest(b"data")}


def test_other_chunking_parameters_miss_the_cache(bench: Bench) -> None:
    bench.put("large", noise(1, 100_000))
    bench.hash()
    assert bench.hash(chunking=Chunking(min=2048, avg=8192, max=32768)).read_files == 1


def test_sources_do_not_share_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    one, other = Bench(tmp_path / "1"), Bench(tmp_path / "2")
    other.cache = one.cache
    one.put("file", b"data")
    one.hash()
    other.put("file", b"data")
    assert other.hash().read_files == 1


def test_a_file_whose_size_and_mtime_were_kept_is_read_again_all_the_same(bench: Bench) -> None:
    """As `touch -r` and `tar x` leave it; the inode may be the old one, too."""
    bench.put("file", b"old")
    bench.hash()
    bench.put("file", b"new")
    assert bench.hash().read_files == 1
    assert bench.hashes() == {"file": digest(b"new")}


def test_a_file_modified_just_before_is_not_remembered(bench: Bench) -> None:
    bench.put("old", b"data")
    bench.put("fresh", b"data", time.time())
    bench.hash()
    assert bench.hash() == HashSummary(read_files=1, read_bytes=4, cached_files=1, cached_bytes=4)


def test_a_file_that_was_fresh_when_a_long_run_began_is_not_remembered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_cache, "RACY_NS", 200_000_000)
    real = hashing.hash_file

    def slower(*arguments: Any) -> Any:
        done = real(*arguments)
        time.sleep(0.4)
        return done

    bench.put("fresh", b"data", time.time())
    with monkeypatch.context() as patch:
        patch.setattr(hashing, "hash_file", slower)
        bench.hash()
    assert bench.hash().read_files == 1


def test_half_a_cache_is_no_cache(bench: Bench) -> None:
    bench.put("large", noise(1, 100_000))
    bench.hash()
    for half in bench.cache.glob("*.parquet"):
        saved = half.read_bytes()
        half.unlink()
        assert bench.hash().read_files == 1
        half.write_bytes(saved)


def test_a_run_that_was_killed_between_the_two_cache_files_misleads_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.put("large", noise(1, 100_000))
    bench.hash()
    before = bench.pieces()
    real = Tables.save
    saved: list[Path] = []

    def killed(self: Tables, query: str, parquet: Path) -> int:
        if parquet.parent == bench.cache:
            saved.append(parquet)
            if len(saved) == 2:
                raise KeyboardInterrupt
        return real(self, query, parquet)

    bench.put("large", noise(2, 100_000), HOUR_AGO + 1)
    with monkeypatch.context() as patch:
        patch.setattr(Tables, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            bench.hash()
    bench.put("large", noise(1, 100_000))
    bench.hash()
    assert bench.pieces() == before


def test_runs_at_the_same_time_leave_a_cache_that_holds(bench: Bench, tmp_path: Path) -> None:
    for number in range(20):
        bench.put(f"large-{number}", noise(number, 60_000))
    scan(bench.source, bench.work.entries)
    entries = bench.work.entries.read_bytes()

    def run(number: int) -> HashSummary:
        work = WorkDir(tmp_path / f"work-{number}")
        work.root.mkdir()
        work.entries.write_bytes(entries)
        return hash_files(bench.source, work, bench.cache, SMALL_CHUNKING, rehash=number % 2 == 0)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(12)))
    bench.hash()
    assert bench.hash().read_files == 0
    assert bench.hashes() == {f"large-{number}": digest(noise(number, 60_000)) for number in range(20)}


def during_reads(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> None:
    """Call `act` between a file's first look and its content: `fstat` is the look before and the look after."""
    real, looks = os.fstat, [0]

    def fstat(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        # Locks look at their files as well.
        if not threading.current_thread().name.startswith("hash_"):
            return status
        looks[0] += 1
        if looks[0] % 2:
            act(looks[0] // 2)
        return status

    monkeypatch.setattr(hashing.os, "fstat", fstat)


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_file_that_changes_once_while_it_is_read_is_read_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    bench.put("file", noise(1, size))
    during_reads(monkeypatch, lambda number: None if number else bench.put("file", noise(2, size), HOUR_AGO + 1))
    bench.hash()
    assert bench.hashes() == {"file": digest(noise(2, size))}
    assert rows(bench.work.entries, "mtime") == [(int(HOUR_AGO + 1),)]


@pytest.mark.parametrize("size", [10, 100_000])
@pytest.mark.parametrize("growth", [-1, 0, 1])
def test_a_file_that_goes_on_changing_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, size: int, growth: int
) -> None:
    bench.put("file", noise(9, size))
    during_reads(
        monkeypatch,
        lambda number: bench.put("file", noise(number, size + growth * (number + 1)), HOUR_AGO + number + 1),
    )
    with pytest.raises(SourceError, match="'file' goes on changing"):
        bench.hash()


def test_a_file_that_grows_under_a_real_writer_is_refused(bench: Bench) -> None:
    bench.put("log", bytes(16 * 1024 * 1024))
    done = threading.Event()

    def write() -> None:
        with (bench.source / "log").open("ab", buffering=0) as file:
            while not done.is_set():
                file.write(b"line\n")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(SourceError, match="goes on changing"):
            bench.hash(chunking=Chunking())
    finally:
        done.set()
        writer.join()


def test_a_file_that_vanished_since_the_scan_is_a_source_error(bench: Bench) -> None:
    bench.put("file", b"data")
    scan(bench.source, bench.work.entries)
    (bench.source / "file").unlink()
    with pytest.raises(SourceError, match="vanished"):
        bench.hash_what_was_scanned()


def test_a_link_that_took_a_files_place_is_not_followed(bench: Bench) -> None:
    bench.put("file", b"data")
    scan(bench.source, bench.work.entries)
    (bench.source / "file").unlink()
    (bench.source / "file").symlink_to("/etc/hostname")
    with pytest.raises(SourceError, match="cannot be read"):
        bench.hash_what_was_scanned()


@given(sizes=st.lists(st.integers(0, 2 * hashing.BATCH_BYTES), max_size=1000))
def test_batches_hold_every_file_once_in_order(sizes: list[int]) -> None:
    files = [(str(number), size) for number, size in enumerate(sizes)]
    made = list(batches(files))
    assert [path for batch in made for path in batch] == [path for path, _ in files]
    for batch in made:
        assert 0 < len(batch) <= hashing.BATCH_FILES
        assert sum(sizes[int(path)] for path in batch[:-1]) < hashing.BATCH_BYTES
