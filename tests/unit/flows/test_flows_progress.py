from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.cli import progress
from lading.cli import progress as plain
from lading.parameters import Chunking, Compression
from tasks.hashing import hash_files
from tasks.pack import pack_shard
from tasks.plan import plan
from tasks.progress import Advance, advance, listening
from tasks.scan import scan
from tasks.work import WorkDir


def test_what_several_threads_say_is_added_up() -> None:
    heard: list[Advance] = []
    with listening(heard.append), ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: advance("hash", 3, 3000), range(1000)))
    assert max(one.done for one in heard) == 3000
    assert {one.total for one in heard} == {3000}


def test_nobody_has_to_listen() -> None:
    advance("hash", 1)
    heard: list[Advance] = []
    with listening(heard.append):
        advance("hash", 1)
    advance("hash", 1)
    assert [one.done for one in heard] == [1]


def test_the_steps_say_all_that_they_do(tmp_path: Path) -> None:
    """Every byte is counted once: of small files, of large ones, and of what the hash cache spares none."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(bytes(range(256)) * 80_000)
    (source / "small").write_bytes(b"small" * 1000)
    work = WorkDir(tmp_path / "work")
    work.root.mkdir()
    work.prepare()
    last: dict[str, Advance] = {}
    with listening(lambda one: last.update({one.step: one})):
        scan(source, work.entries)
        hash_files(source, work, tmp_path / "cache", Chunking(), compression=Compression())
        made = plan(work, None, full=False)
        shard = pack_shard(source, work, 0, made.kind, Compression())
    size = 256 * 80_000 + 5000
    assert (last["hash"].done, last["hash"].total) == (size, size)
    assert last["pack"].done == shard.raw_size > size


def test_lines_come_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(plain.time, "monotonic", lambda: clock[0])
    with progress.shown(quiet=False):
        for second in range(12):
            clock[0] = 100.0 + second
            advance("hash", 1_000_000, 12_000_000)
        advance("scan", 1234, unit="files")
        clock[0] += 100
        advance("scan", 11_111, unit="files")
    assert capsys.readouterr().err.splitlines() == [
        "lading: hash: 6.0 of 12.0 MB",
        "lading: hash: 11.0 of 12.0 MB",
        "lading: scan: 12,345 files",
    ]


def test_a_quiet_release_shows_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "PLAIN_INTERVAL_S", 0)
    with progress.shown(quiet=True):
        advance("hash", 1, 2)
    assert capsys.readouterr().err == ""
    with progress.shown(quiet=False):
        advance("hash", 1, 2)
    assert capsys.readouterr().err == "lading: hash: 0.0 of 0.0 MB\n"
