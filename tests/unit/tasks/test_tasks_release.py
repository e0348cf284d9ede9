"""Scan, hash, plan, pack and index together: whatever the tree, its releases give it back."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tasks_releases import (
    SMALL_CHUNKING,
    File,
    Folder,
    Link,
    Release,
    Tree,
    chunk_hashes,
    edits,
    extract,
    make_release,
    member_names,
    noise,
    open_tar,
    read_tree,
    rebuild,
    rows,
    shrink,
    trees,
    write_tree,
)

from lading.frames import SEEK_TABLE_FOOTER_BYTES, parse_seek_table, seek_table_length

MIB = 1024 * 1024
TREE: Tree = {
    "a.txt": File(b"alpha"),
    "bin/tool": File(b"#!/bin/sh\n", 0o755),
    "deep/er/ä.txt": File("größer".encode()),
    "empty": File(b""),
    "nothing": Folder(),
    "deep/copy.txt": File(b"alpha"),
    "deep/link": Link("../a.txt"),
    "n" * 130 + "/" + "m" * 130: File(b"long name"),
}

PROPERTY = settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@given(tree=trees(), several_shards=st.booleans())
@PROPERTY
def test_extracting_all_shards_of_a_base_release_restores_any_tree(
    tmp_path_factory: pytest.TempPathFactory, tree: Tree, several_shards: bool
) -> None:
    root = tmp_path_factory.mktemp("base")
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, shards=several_shards)
        release = make_release(write_tree(root / "source", tree), root, chunking=SMALL_CHUNKING)
    assert read_tree(extract([shard.path for shard in release.packed], root / "dest")) == tree
    assert rebuild(release) == tree


@given(data=st.data(), several_shards=st.booleans())
@PROPERTY
def test_any_edited_tree_is_rebuilt_from_index_and_shards_of_a_delta(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, several_shards: bool
) -> None:
    root = tmp_path_factory.mktemp("delta")
    old = data.draw(trees())
    new = data.draw(edits(old))
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, shards=several_shards)
        base = make_release(write_tree(root / "old", old), root / "1", chunking=SMALL_CHUNKING)
        delta = make_release(write_tree(root / "new", new), root / "2", base, chunking=SMALL_CHUNKING)
    assert rebuild(delta) == new
    assert set(delta.index.shards) <= delta.store.keys()
    known, wanted = chunk_hashes(base), chunk_hashes(delta)
    assert delta.plan.new_chunks >= len(wanted - known)
    if wanted <= known and not delta.plan.compacted_bytes:
        assert delta.packed == []


@pytest.fixture
def base(tmp_path: Path) -> Release:
    return make_release(write_tree(tmp_path / "old", TREE), tmp_path / "1")


def change(tmp_path: Path, **changes: object) -> Path:
    return write_tree(tmp_path / "new", {**TREE, **changes})


@pytest.mark.skipif(not (shutil.which("zstd") and shutil.which("tar")), reason="needs the programs zstd and tar")
def test_the_standard_programs_restore_a_base_release(base: Release, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    for shard in base.packed:
        raw = subprocess.run(["zstd", "-dc", shard.path], check=True, capture_output=True).stdout
        subprocess.run(["tar", "xp", "-C", dest], input=raw, check=True)
    assert read_tree(dest) == TREE


def test_extraction_restores_whole_seconds_of_mtime(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "source", TREE)
    os.utime(source / "bin/tool", ns=(0, 1_234_567_890_987_654_321))
    release = make_release(source, tmp_path)
    restored = extract([shard.path for shard in release.packed], tmp_path / "dest")
    assert (restored / "bin/tool").stat().st_mtime_ns == 1_234_567_890_000_000_000
    assert dict(rows(release.index.files.path, "path, mtime"))["bin/tool"] == 1_234_567_890


def test_a_time_before_1970_becomes_1970(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "source", {"old": File(b"old")})
    os.utime(source / "old", (-5, -5))
    release = make_release(source, tmp_path)
    assert rows(release.index.files.path, "mtime") == [(0,)]


def test_the_index_lists_files_by_path_and_chunks_by_file(base: Release) -> None:
    files = rows(base.index.files.path, "file_id, path, type, target, size, sha256, mode")
    paths = [row[1] for row in files]
    assert [row[0] for row in files] == list(range(len(TREE)))
    assert paths == sorted(TREE, key=str.encode)
    by_path = {row[1]: row[2:] for row in files}
    assert by_path["deep/link"][:4] == ("symlink", "../a.txt", 0, None)
    assert by_path["nothing"][:4] == ("dir", None, 0, None)
    assert by_path["empty"][:4] == ("file", None, 0, hashlib.sha256().digest())
    assert by_path["bin/tool"][4] == 0o755
    order = rows(base.index.chunks.path, "file_id, seq")
    assert order == sorted(order)
    assert (base.index.files.rows, base.index.chunks.rows) == (len(files), len(order))
    assert base.index.files.sha256 == hashlib.sha256(base.index.files.path.read_bytes()).hexdigest()


def test_a_shard_is_named_by_its_bytes_and_ends_in_a_true_seek_table(base: Release) -> None:
    (shard,) = base.packed
    data = shard.path.read_bytes()
    assert shard.sha256 == hashlib.sha256(data).hexdigest()
    assert shard.path.name == f"{shard.sha256}.tar.zst"
    table = data[-seek_table_length(data[-SEEK_TABLE_FOOTER_BYTES:]) :]
    frames = parse_seek_table(table)
    assert sum(size for size, _ in frames) + len(table) == len(data) == shard.size
    assert sum(raw for _, raw in frames) == shard.raw_size
    assert len(frames) == shard.frames


def test_equal_files_are_stored_once(base: Release) -> None:
    with open_tar(base.packed[0].path) as tar:
        members = {member.name: member for member in tar}
    assert members["a.txt"].isreg()
    assert members["deep/copy.txt"].islnk()
    assert members["deep/copy.txt"].linkname == "a.txt"
    assert base.plan.new_bytes == sum(
        {entry.data: len(entry.data) for entry in TREE.values() if isinstance(entry, File)}.values()
    )


def test_equal_files_of_different_mode_keep_their_modes(tmp_path: Path) -> None:
    tree: Tree = {"a": File(b"same", 0o644), "b": File(b"same", 0o755), "c": File(b"same", 0o755)}
    release = make_release(write_tree(tmp_path / "source", tree), tmp_path)
    assert read_tree(extract([shard.path for shard in release.packed], tmp_path / "dest")) == tree


def test_an_unchanged_tree_stores_nothing(base: Release, tmp_path: Path) -> None:
    delta = make_release(change(tmp_path), tmp_path / "2", base)
    assert delta.packed == []
    assert (delta.plan.added, delta.plan.modified, delta.plan.removed) == (0, 0, 0)
    assert delta.plan.new_bytes == 0
    assert delta.plan.reused_bytes == delta.plan.bytes
    assert rebuild(delta) == TREE


def test_renames_moves_and_copies_store_nothing(base: Release, tmp_path: Path) -> None:
    tree = {path.replace("deep/", "moved/"): entry for path, entry in TREE.items()}
    tree = {**tree, "renamed": tree.pop("bin/tool"), "second/copy": tree["a.txt"]}
    delta = make_release(write_tree(tmp_path / "new", tree), tmp_path / "2", base)
    assert delta.packed == []
    assert delta.plan.new_bytes == 0
    assert rebuild(delta) == tree


def test_changes_are_counted(base: Release, tmp_path: Path) -> None:
    source = change(tmp_path, **{"a.txt": File(b"beta"), "added": File(b"new")})
    (source / "deep/link").unlink()
    delta = make_release(source, tmp_path / "2", base)
    assert (delta.plan.added, delta.plan.modified, delta.plan.removed) == (1, 1, 1)
    assert delta.plan.new_bytes == len(b"betanew")
    assert delta.plan.reused_bytes == delta.plan.bytes - len(b"betanew")


def test_a_delta_shard_holds_new_small_files_whole_and_once(base: Release, tmp_path: Path) -> None:
    source = change(tmp_path, new=File(b"new"), copy=File(b"new"))
    delta = make_release(source, tmp_path / "2", base)
    assert [shard.kind for shard in delta.packed] == ["delta"]
    assert member_names(delta) == ["copy"]


def test_a_full_release_stores_everything_again(base: Release, tmp_path: Path) -> None:
    source = change(tmp_path, new=File(b"new"))
    again = make_release(source, tmp_path / "2", base, full=True)
    assert again.plan.kind == "base"
    assert again.plan.added == 1
    assert set(again.index.shards) == {shard.sha256 for shard in again.packed}
    assert read_tree(extract([shard.path for shard in again.packed], tmp_path / "dest")) == read_tree(source)


def test_a_tree_of_nothing_but_empty_files_can_be_released(tmp_path: Path) -> None:
    tree: Tree = {"empty": File(b""), "folder": Folder(), "link": Link("empty")}
    release = make_release(write_tree(tmp_path / "source", tree), tmp_path)
    assert rebuild(release) == tree
    assert release.index.chunks.rows == 0
    assert read_tree(extract([shard.path for shard in release.packed], tmp_path / "dest")) == tree


def test_index_and_shards_are_the_same_bytes_on_every_run(tmp_path: Path) -> None:
    tree = {**TREE, **{f"many/{n}": File(noise(n, 30_000)) for n in range(100)}}
    source = write_tree(tmp_path / "source", tree)

    def digests(number: int, threads: int) -> list[str]:
        made = make_release(source, tmp_path / str(number), threads=threads)
        return [made.index.files.sha256, made.index.chunks.sha256, *(shard.sha256 for shard in made.packed)]

    assert digests(1, 1) == digests(2, 2) == digests(3, 5)


def test_lone_files_get_shards_of_their_own_and_links_to_them_come_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch, shards=True)
    tree: Tree = {
        "a-copy-of-z": File(noise(1, 60_000)),
        "b": File(b"small"),
        "z": File(noise(1, 60_000)),
        "zz": File(noise(2, 70_000)),
    }
    release = make_release(write_tree(tmp_path / "source", tree), tmp_path, chunking=SMALL_CHUNKING)
    names = []
    for shard in release.packed:
        with open_tar(shard.path) as tar:
            names.append(tar.getnames())
    assert names == [["a-copy-of-z"], ["zz"], ["b", "z"]]
    assert read_tree(extract([shard.path for shard in release.packed], tmp_path / "dest")) == tree


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, Release]:
    """A base release of one file of 12 MiB, with its folder and content."""
    root = tmp_path_factory.mktemp("large")
    content = noise(1, 12 * MIB)
    return root, content, make_release(write_tree(root / "1", {"big": File(content)}), root / "base")


def test_a_large_file_lies_in_frames_of_payload_only(large: tuple[Path, bytes, Release]) -> None:
    _, content, base = large
    chunks = rows(base.index.chunks.path, "seq, length, frame_offset, frame_length, inner_offset")
    assert len(chunks) > 3
    assert sum(row[1] for row in chunks) == len(content)
    assert max(row[1] for row in chunks) <= 4 * MIB
    assert {row[4] for row in chunks} == {0}
    assert len({row[2] for row in chunks}) == len(chunks)
    assert rebuild(base) == {"big": File(content)}


def test_bytes_inserted_into_a_large_file_cost_a_few_chunks(large: tuple[Path, bytes, Release], tmp_path: Path) -> None:
    _, content, base = large
    for number, at in enumerate((0, len(content) // 2, len(content))):
        edited = content[:at] + b"inserted" + content[at:]
        source = write_tree(tmp_path / f"{number}-source", {"big": File(edited)})
        delta = make_release(source, tmp_path / str(number), base)
        assert 1 <= delta.plan.new_chunks <= 3
        assert delta.plan.new_bytes < 0.5 * len(content)
        assert all(name.startswith(".lading/chunks/") for name in member_names(delta))
        assert rebuild(delta) == {"big": File(edited)}


def test_chunk_members_are_named_by_their_content(large: tuple[Path, bytes, Release], tmp_path: Path) -> None:
    _, content, base = large
    source = write_tree(tmp_path / "source", {"big": File(b"inserted" + content)})
    delta = make_release(source, tmp_path / "2", base)
    with open_tar(delta.packed[0].path) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            assert member.name == f".lading/chunks/{hashlib.sha256(file.read()).hexdigest()}"


def test_a_mostly_changed_large_file_is_stored_whole(large: tuple[Path, bytes, Release], tmp_path: Path) -> None:
    _, _, base = large
    changed = noise(2, 12 * MIB)
    delta = make_release(write_tree(tmp_path / "source", {"big": File(changed)}), tmp_path / "2", base)
    assert member_names(delta) == ["big"]
    assert rebuild(delta) == {"big": File(changed)}


def test_chunks_that_are_stored_again_are_read_from_the_new_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch)
    old, new = noise(1, 30_000), noise(1, 30_000)[:20_000] + noise(2, 400_000)
    base = make_release(write_tree(tmp_path / "1", {"f": File(old)}), tmp_path / "base", chunking=SMALL_CHUNKING)
    source = write_tree(tmp_path / "2", {"f": File(new)})
    delta = make_release(source, tmp_path / "delta", base, chunking=SMALL_CHUNKING)
    assert chunk_hashes(base) & chunk_hashes(delta)
    assert delta.index.shards == (delta.packed[0].sha256,)
