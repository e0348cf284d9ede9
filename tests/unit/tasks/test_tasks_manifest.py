"""The manifest that a release's steps add up to."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tasks_releases import File, Link, Release, make_release, write_tree

from lading.manifest import Manifest, parse
from lading.parameters import Chunking, Compression
from tasks.card import DatasetCard
from tasks.publish import build_manifest


def manifest_of(release: Release, version: str, parent: Manifest | None = None) -> Manifest:
    return build_manifest(
        dataset="data",
        version=version,
        parent=parent,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        card=DatasetCard(license="CC0-1.0"),
        plan=release.plan,
        shards=release.packed,
        patches=None,
        index=release.index,
        chunking=Chunking(),
        compression=Compression(),
    )


def test_a_base_manifest_lists_its_shards_and_totals(tmp_path: Path) -> None:
    release = make_release(write_tree(tmp_path / "source", {"a": File(b"a"), "b": File(b"bb")}), tmp_path)
    manifest = manifest_of(release, "v1")
    assert [(shard.sha256, shard.size, shard.kind) for shard in manifest.files] == [
        (shard.sha256, shard.size, "base") for shard in release.packed
    ]
    assert (manifest.parent, manifest.delta.from_) == (None, None)
    assert (manifest.totals.files, manifest.totals.bytes, manifest.totals.chunks) == (2, 3, 2)
    assert manifest.totals.stored_bytes == sum(shard.size for shard in release.packed)
    assert manifest.license == "CC0-1.0"
    assert parse(manifest.to_bytes()) == manifest


def test_a_delta_manifest_lists_old_shards_that_are_still_needed_and_new_ones(tmp_path: Path) -> None:
    base = make_release(write_tree(tmp_path / "1", {"a": File(b"a"), "b": File(b"bb")}), tmp_path / "base")
    first = manifest_of(base, "v1")
    delta = make_release(write_tree(tmp_path / "2", {"a": File(b"a"), "c": File(b"ccc")}), tmp_path / "delta", base)
    second = manifest_of(delta, "v2", first)
    assert {(shard.sha256, shard.kind) for shard in second.files} == {
        (base.packed[0].sha256, "base"),
        (delta.packed[0].sha256, "delta"),
    }
    assert (second.parent, second.delta.from_) == ("v1", "v1")
    assert (second.delta.added, second.delta.modified, second.delta.removed) == (1, 0, 1)
    assert (second.delta.new_bytes, second.delta.reused_bytes) == (3, 1)


def test_a_delta_manifest_drops_shards_that_nothing_refers_to(tmp_path: Path) -> None:
    base = make_release(write_tree(tmp_path / "1", {"a": File(b"a")}), tmp_path / "base")
    delta = make_release(write_tree(tmp_path / "2", {"a": File(b"new")}), tmp_path / "delta", base)
    second = manifest_of(delta, "v2", manifest_of(base, "v1"))
    assert [shard.sha256 for shard in second.files] == [delta.packed[0].sha256]
    assert second.totals.stored_bytes == delta.packed[0].size


def test_a_base_manifest_keeps_a_shard_that_holds_no_chunk(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "source", {"empty": File(b""), "link": Link("empty")})
    release = make_release(source, tmp_path)
    assert len(manifest_of(release, "v1").files) == len(release.packed) == 1


def test_index_keys_follow_from_content_so_that_racing_runs_do_not_overwrite(tmp_path: Path) -> None:
    one = manifest_of(make_release(write_tree(tmp_path / "1", {"a": File(b"a")}), tmp_path / "one"), "v1")
    other = manifest_of(make_release(write_tree(tmp_path / "2", {"b": File(b"a")}), tmp_path / "other"), "v1")
    assert one.index.files.key != other.index.files.key
    assert one.index.files.key == f"data/releases/v1/files.{one.index.files.sha256[:16]}.parquet"
