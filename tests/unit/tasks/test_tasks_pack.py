from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tasks_releases import SMALL_CHUNKING, noise, shrink

from lading.errors import SourceError
from lading.parameters import Compression
from tasks.hashing import hash_files
from tasks.pack import pack_shard
from tasks.plan import plan
from tasks.scan import scan
from tasks.work import WorkDir


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, WorkDir]:
    """A source of small and large files, hashed and planned."""
    shrink(monkeypatch)
    source = tmp_path / "source"
    source.mkdir()
    for number in range(50):
        (source / f"a{number}").write_bytes(noise(number, 10_000))
    (source / "large").write_bytes(noise(1, 100_000))
    (source / "small").write_bytes(noise(2, 100))
    work = WorkDir(tmp_path / "work")
    work.root.mkdir()
    work.prepare()
    scan(source, work.entries)
    hash_files(source, work, tmp_path / "cache", SMALL_CHUNKING)
    plan(work, None, full=False)
    return source, work


@pytest.mark.parametrize("name", ["small", "large"])
@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.unlink(),
        lambda path: (path.unlink(), path.symlink_to("a1")),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["content", "shorter", "gone", "link", "folder"],
)
def test_a_file_that_changed_since_it_was_hashed_is_refused_and_nothing_is_left(
    planned: tuple[Path, WorkDir], name: str, change: Callable[[Path], object]
) -> None:
    source, work = planned
    change(source / name)
    with pytest.raises(SourceError, match=repr(name)):
        pack_shard(source, work, 0, "base", Compression())
    assert list(work.shards.iterdir()) == []
    assert list(work.root.glob("placements-*")) == []


def test_packing_can_be_repeated_after_the_file_is_back(planned: tuple[Path, WorkDir]) -> None:
    source, work = planned
    first = pack_shard(source, work, 0, "base", Compression())
    content = (source / "small").read_bytes()
    (source / "small").write_bytes(b"other")
    with pytest.raises(SourceError):
        pack_shard(source, work, 0, "base", Compression())
    (source / "small").write_bytes(content)
    assert pack_shard(source, work, 0, "base", Compression()) == first


def test_the_level_changes_the_bytes_and_nothing_else(planned: tuple[Path, WorkDir]) -> None:
    source, work = planned
    (source / "small").touch()
    one = pack_shard(source, work, 0, "base", Compression(level=1))
    other = pack_shard(source, work, 0, "delta", Compression(level=19))
    assert one.sha256 != other.sha256
    assert (one.raw_size, one.frames) == (other.raw_size, other.frames)
    assert (one.kind, other.kind) == ("base", "delta")
