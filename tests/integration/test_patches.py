"""Patches: small differences to the parent's files, never the only copy."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import duckdb
import pytest
from running_stack import RunningStack
from trees import listing, text

from lading.client.compare import Work
from lading.client.progress import Silent
from lading.client.pull import pull
from lading.manifest import Manifest, parse
from lading.names import MANIFEST, release_key
from lading.objectstore import bucket
from lading.patches import apply

EDITS = 300


def release(source: Path, dataset: str, version: str, **options: object) -> dict:
    from flows.release import release as flow

    return flow(source=str(source), dataset=dataset, version=version, smoke=False, **options)


def scatter(data: bytes, seed: int, edits: int = EDITS) -> bytes:
    """Insert, change and remove a few bytes all over, so that every chunk changes."""
    chosen = random.Random(seed)
    parts = []
    at = 0
    for place in sorted(chosen.sample(range(len(data)), edits)):
        parts += [data[at:place], chosen.randbytes(chosen.randrange(12))]
        at = min(len(data), place + chosen.randrange(12))
    return b"".join([*parts, data[at:]])


class Planned(Silent):
    """Keeps what a pull says that it is about to do."""

    def __init__(self) -> None:
        self.work: list[Work] = []

    def planned(self, work: Work) -> None:
        self.work.append(work)


@pytest.fixture
def versions(stack: RunningStack, dataset: str, tmp_path: Path) -> tuple[Path, Manifest, dict]:
    """Two releases that differ by small edits in every chunk; the second has patches."""
    source = tmp_path / "source"
    source.mkdir()
    files = {"large.txt": text(1, 20_000_000), "small.txt": text(2, 300_000), "same.txt": text(3, 100_000)}
    for name, data in files.items():
        (source / name).write_bytes(data)
    release(source, dataset, "v1")
    pull(dataset, tmp_path / "dest", stack.settings)
    for name in ("large.txt", "small.txt"):
        (source / name).write_bytes(scatter(files[name], 5))
    made = release(source, dataset, "v2", patches=True)
    return source, parse(bucket(stack.settings).get(release_key(dataset, "v2", MANIFEST))), made


def test_patches_are_far_smaller_than_the_chunks_and_give_them_back(
    stack: RunningStack, dataset: str, versions: tuple[Path, Manifest, dict], tmp_path: Path
) -> None:
    source, manifest, made = versions
    store = bucket(stack.settings)
    assert manifest.patches is not None
    assert manifest.patches.from_ == "v1"
    assert made["patch_bytes"] < made["new_stored_bytes"] / 20
    pack = store.get(manifest.patches.pack.key)
    assert hashlib.sha256(pack).hexdigest() == manifest.patches.pack.sha256
    for name, entry in (("p", manifest.patches.index), ("f", manifest.index.files), ("c", manifest.index.chunks)):
        (tmp_path / f"{name}.parquet").write_bytes(store.get(entry.key))
    rows = duckdb.connect().execute(
        f"SELECT path, base_path, base_offset, base_length, frame_offset, frame_length, p.length, p.chunks, "
        f"(SELECT sum(length) FROM '{tmp_path}/c.parquet' c WHERE c.file_id = p.file_id AND c.seq < p.seq) "
        f"FROM '{tmp_path}/p.parquet' p JOIN '{tmp_path}/f.parquet' USING (file_id) ORDER BY path, seq"
    )
    old = tmp_path / "dest"
    covered = 0
    for path, base_path, base_offset, base_length, offset, frame_length, length, _, start in rows.fetchall():
        base = (old / base_path).read_bytes()[base_offset : base_offset + base_length]
        segment = apply(base, pack[offset : offset + frame_length], length)
        assert segment == (source / path).read_bytes()[int(start or 0) :][:length]
        covered += length
    assert covered == sum((source / name).stat().st_size for name in ("large.txt", "small.txt"))


def test_a_release_without_changes_has_no_patches(stack: RunningStack, dataset: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.txt").write_bytes(text(1, 50_000))
    release(source, dataset, "v1", patches=True)
    made = release(source, dataset, "v2", patches=True)
    assert made["patch_bytes"] == 0
    pull(f"{dataset}@v2", tmp_path / "dest", stack.settings)
    assert listing(tmp_path / "dest") == listing(source)


def test_a_file_of_a_few_bytes_is_nothing_to_patch_from(stack: RunningStack, dataset: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for version, size in (("v1", 7), ("v2", 8), ("v3", 9)):
        (source / "tiny.txt").write_bytes(b"a" * size)
        (source / "other.txt").write_bytes(text(4, 1_000) + version.encode())
        release(source, dataset, version, patches=version != "v1")
        pull(f"{dataset}@{version}", tmp_path / "dest", stack.settings)
        assert listing(tmp_path / "dest") == listing(source)


def test_an_update_by_patches_fetches_a_small_part_of_the_new_chunks(
    stack: RunningStack, dataset: str, versions: tuple[Path, Manifest, dict], tmp_path: Path
) -> None:
    source, manifest, made = versions
    assert manifest.patches is not None
    planned = Planned()

    result = pull(dataset, tmp_path / "dest", stack.settings, progress=planned)

    assert listing(tmp_path / "dest") == listing(source)
    (work,) = planned.work
    assert (work.fetch_bytes, work.remote_bytes) == (manifest.patches.pack.size, 0), "what is said before it begins"
    assert result.fetched_bytes < manifest.patches.pack.size + 30_000 < made["new_stored_bytes"] / 10


def test_patches_that_do_not_fit_are_no_loss(
    stack: RunningStack, dataset: str, versions: tuple[Path, Manifest, dict], tmp_path: Path
) -> None:
    """The old file was changed behind Lading's back, size and mtime kept: its patch gives wrong bytes."""
    source, _, made = versions
    path = tmp_path / "dest" / "large.txt"
    status = path.stat()
    data = bytearray(path.read_bytes())
    for place in range(0, len(data), 1000):
        data[place] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    result = pull(dataset, tmp_path / "dest", stack.settings)

    assert listing(tmp_path / "dest") == listing(source)
    assert result.fetched_bytes > made["new_stored_bytes"] / 2


def test_a_client_without_the_parent_pulls_the_chunks(
    stack: RunningStack, dataset: str, versions: tuple[Path, Manifest, dict], tmp_path: Path
) -> None:
    source, _, _ = versions
    pull(dataset, tmp_path / "fresh", stack.settings)
    assert listing(tmp_path / "fresh") == listing(source)


def test_files_that_were_moved_and_edited_are_patched_from_where_they_were(
    stack: RunningStack, dataset: str, tmp_path: Path
) -> None:
    """A large one is known by the chunks that it kept, whatever its name; a small one by its name."""
    source, dest = tmp_path / "source", tmp_path / "dest"
    large, small = text(1, 20_000_000), text(2, 400_000)
    for path, data in (("old/large.txt", large), ("old/small.txt", small), ("stays.txt", text(3, 1000))):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(data)
    release(source, dataset, "v1")
    pull(dataset, dest, stack.settings)
    (source / "old/large.txt").unlink()
    (source / "old/small.txt").unlink()
    (source / "new").mkdir()
    # The second half keeps its chunks; of those in the first, every one changes.
    (source / "new/renamed.txt").write_bytes(scatter(large[:10_000_000], 5) + large[10_000_000:])
    (source / "new/small.txt").write_bytes(scatter(small, 6, edits=20))
    made = release(source, dataset, "v2", patches=True)
    assert 0 < made["patch_bytes"] < made["new_stored_bytes"] / 10

    result = pull(dataset, dest, stack.settings)

    assert listing(dest) == listing(source)
    assert result.fetched_bytes < made["patch_bytes"] + 30_000
