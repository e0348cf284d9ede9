"""The lookup of releases that were really packed: what it says is enough to get every file out of the shards."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from pathlib import Path

import zstandard
from tasks_releases import File, Folder, Link, Release, Tree, make_release, rows, write_tree
from test_tasks_manifest import manifest_of

from lading.index import IndexFile
from lading.lookup import DANGLING, FOLDER, Found, Lookup
from tasks.build_index import build_index

LARGE = random.Random(1).randbytes(10 * 1024 * 1024)


def written(release: Release) -> IndexFile:
    assert release.index.lookup is not None
    return release.index.lookup


def lookup_of(release: Release) -> Lookup:
    data = written(release).path.read_bytes()
    return Lookup(lambda offset, length: data[offset : offset + length], len(data))


def by_pieces(release: Release, found: Found) -> bytes:
    content = b""
    for piece in found.pieces:
        stored = release.store[piece.shard.hex()].read_bytes()
        frame = stored[piece.frame_offset : piece.frame_offset + piece.frame_length]
        raw = zstandard.ZstdDecompressor().decompress(frame, max_output_size=1 << 24)
        chunk = raw[piece.inner_offset : piece.inner_offset + piece.length]
        assert (piece.start, hashlib.sha256(chunk).digest()) == (len(content), piece.sha256)
        content += chunk
    return content


def by_spans(release: Release, found: Found) -> bytes:
    stored = b"".join(
        release.store[span.shard.hex()].read_bytes()[span.offset : span.offset + span.length] for span in found.spans
    )
    return zstandard.ZstdDecompressor().stream_reader(stored, read_across_frames=True).read()


def check(release: Release, tree: Tree) -> int:
    """Every file of a tree, by its pieces and by its spans; returns how many had spans."""
    lookup, whole = lookup_of(release), 0
    assert len(lookup) == len(rows(release.index.files.path)) == written(release).rows
    for path, node in tree.items():
        found = lookup.find(path)
        assert found is not None
        if isinstance(node, File):
            assert (found.size, found.sha256) == (len(node.data), hashlib.sha256(node.data).digest())
            assert by_pieces(release, found) == node.data
            if found.spans:
                assert by_spans(release, found) == node.data
                whole += 1
    return whole


def test_every_file_of_a_base_and_of_a_delta_release_comes_out_of_its_shards(tmp_path: Path) -> None:
    tree: Tree = {
        "a.txt": File(b"small"),
        "copy of a.txt": File(b"small"),
        "empty": File(b""),
        "folder": Folder(),
        "large": File(LARGE),
        "link": Link("large"),
        "sub/nowhere": Link("../nothing"),
        "ünïcode": File(b"name"),
    }
    base = make_release(write_tree(tmp_path / "1", tree), tmp_path / "base")
    assert check(base, tree) == 1
    lookup = lookup_of(base)
    assert lookup.find("link") == lookup.find("large")
    assert [found.kind for path in ("folder", "sub/nowhere") if (found := lookup.find(path))] == [FOLDER, DANGLING]
    assert lookup.find("absent") is None

    tree |= {"large": File(LARGE[:3_000_000] + b"inserted" + LARGE[3_000_000:]), "new.txt": File(b"new")}
    delta = make_release(write_tree(tmp_path / "2", tree), tmp_path / "delta", base)
    assert delta.plan.kind == "delta"
    check(delta, tree)
    large = lookup_of(delta).find("large")
    assert large is not None
    assert {piece.shard.hex() for piece in large.pieces} == {base.packed[0].sha256, delta.packed[0].sha256}


def test_the_lookup_is_named_by_its_content_and_in_the_manifest(tmp_path: Path) -> None:
    release = make_release(write_tree(tmp_path / "1", {"a": File(b"a")}), tmp_path / "base")
    described = manifest_of(release, "v1").index.lookup
    assert described is not None
    assert described.key == f"data/releases/v1/lookup.{described.sha256[:16]}.bin"
    assert (described.rows, described.size) == (1, written(release).path.stat().st_size)


def test_a_release_may_do_without(tmp_path: Path) -> None:
    release = make_release(write_tree(tmp_path / "1", {"a": File(b"a")}), tmp_path / "base")
    index = build_index(release.work, None, None, lookup=False)
    assert index.lookup is None
    assert manifest_of(replace(release, index=index), "v1").index.lookup is None
