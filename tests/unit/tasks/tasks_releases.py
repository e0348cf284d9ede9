"""Trees to release, the steps of a release without a store, and a small reader that shares no code with Lading's."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
import zstandard
from hypothesis import strategies as st

import lading.chunking
import tasks.plan
from lading.names import INDEX_CHUNKS, INDEX_FILES
from lading.parameters import Chunking, Compression
from tasks.build_index import ReleaseIndex, build_index
from tasks.hashing import HashSummary, hash_files
from tasks.pack import PackedShard, pack_shard
from tasks.plan import ParentIndex, Plan, plan
from tasks.scan import ScanSummary, scan
from tasks.work import WorkDir


@dataclass(frozen=True)
class File:
    data: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class Link:
    target: str


@dataclass(frozen=True)
class Folder:
    """An empty one; those that hold something follow from the paths."""

    mode: int = 0o755


Tree = dict[str, File | Link | Folder]
SMALL_CHUNKING = Chunking(min=1024, avg=4096, max=16384)
SMALL_WHOLE_FILE_BYTES = 20_000


def write_tree(root: Path, tree: Mapping[str, File | Link | Folder]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for path, entry in tree.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        match entry:
            case File(data, mode):
                place.write_bytes(data)
                place.chmod(mode)
            case Link(target):
                place.symlink_to(target)
            case Folder(mode):
                place.mkdir()
                place.chmod(mode)
    return root


def read_tree(root: Path) -> Tree:
    tree: Tree = {}
    for folder, folders, files in os.walk(root):
        for name in files + [name for name in folders if (Path(folder) / name).is_symlink()]:
            place = Path(folder) / name
            path = place.relative_to(root).as_posix()
            if place.is_symlink():
                tree[path] = Link(str(place.readlink()))
            else:
                tree[path] = File(place.read_bytes(), stat.S_IMODE(place.lstat().st_mode))
        if not files and not folders and Path(folder) != root:
            place = Path(folder)
            tree[place.relative_to(root).as_posix()] = Folder(stat.S_IMODE(place.stat().st_mode))
    return tree


@dataclass(frozen=True)
class Release:
    """What the steps made; `store` maps a shard's SHA-256 to its file, the parents' included."""

    work: WorkDir
    scanned: ScanSummary
    hashed: HashSummary
    plan: Plan
    packed: list[PackedShard]
    index: ReleaseIndex
    store: dict[str, Path]

    @property
    def as_parent(self) -> ParentIndex:
        sizes = {sha256: self.store[sha256].stat().st_size for sha256 in self.index.shards}
        ratio = sum(sizes.values()) / max(1, self.plan.bytes)
        return ParentIndex(self.work.index(INDEX_FILES), self.work.index(INDEX_CHUNKS), sizes, ratio)


def make_release(
    source: Path,
    root: Path,
    parent: Release | None = None,
    *,
    full: bool = False,
    threads: int = 2,
    chunking: Chunking = Chunking(),  # noqa: B008 - frozen
    labels: Path | None = None,
) -> Release:
    """The flow's steps in the flow's order, but publishing."""
    work = WorkDir(root / "work")
    work.root.mkdir(parents=True)
    work.prepare()
    scanned = scan(source, work.entries)
    compression = Compression() if full or parent is None else None
    hashed = hash_files(source, work, root / "cache", chunking, compression=compression, threads=threads)
    planned = plan(work, parent.as_parent if parent else None, full=full)
    packed = [
        pack_shard(source, work, number, planned.kind, Compression(), threads=threads)
        for number in range(planned.shards)
    ]
    used = parent.as_parent if parent and planned.kind == "delta" else None
    index = build_index(work, used, labels)
    store = {**(parent.store if parent else {}), **{shard.sha256: shard.path for shard in packed}}
    return Release(work, scanned, hashed, planned, packed, index, store)


def rows(parquet: Path, columns: str = "*") -> list[tuple[object, ...]]:
    with duckdb.connect() as connection:
        return connection.read_parquet(str(parquet)).project(columns).fetchall()


def chunk_hashes(release: Release) -> set[object]:
    """SHA-256 of every chunk of a release."""
    hashes = dict(rows(release.index.files.path, "file_id, sha256"))
    return {digest or hashes[file_id] for file_id, digest in rows(release.index.chunks.path, "file_id, chunk_sha256")}


def rebuild(release: Release) -> Tree:
    """The tree of a release from its index and shards alone, as the design's section 4 describes them."""
    pieces: dict[int, list[tuple[int, bytes]]] = {}
    hashes = dict(rows(release.index.files.path, "file_id, sha256"))
    chunk_rows = rows(release.index.chunks.path)
    for file_id, seq, digest, length, shard, frame_offset, frame_length, inner_offset in chunk_rows:
        stored = release.store[shard.hex()].read_bytes()
        frame = stored[frame_offset : frame_offset + frame_length]
        raw = zstandard.ZstdDecompressor().decompress(frame, max_output_size=1 << 24)
        chunk = raw[inner_offset : inner_offset + length]
        # One hash for a file that is one chunk.
        assert hashlib.sha256(chunk).digest() == (hashes[file_id] if digest is None else digest)
        assert seq == len(pieces.setdefault(file_id, []))
        pieces[file_id].append((seq, chunk))
    tree: Tree = {}
    for file_id, path, kind, target, size, sha256, mode, _mtime in rows(release.index.files.path):
        if kind == "file":
            data = b"".join(chunk for _, chunk in pieces.get(file_id, []))
            assert (len(data), hashlib.sha256(data).digest()) == (size, sha256)
            tree[path] = File(data, mode)
        else:
            tree[path] = Link(target) if kind == "symlink" else Folder(mode)
    return tree


def open_tar(shard: Path) -> tarfile.TarFile:
    """The shard as `zstd -dc shard | tar` sees it."""
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(shard.read_bytes()), read_across_frames=True)
    return tarfile.open(fileobj=io.BytesIO(reader.read()), mode="r:")


def extract(shards: Iterable[Path], dest: Path) -> Path:
    dest.mkdir()
    for shard in shards:
        with open_tar(shard) as tar:
            tar.extractall(dest, filter="fully_trusted")
    return dest


def member_names(release: Release) -> list[str]:
    """Names of all tar members that this release stored anew."""
    names = []
    for shard in release.packed:
        with open_tar(shard.path) as tar:
            names += tar.getnames()
    return names


def shrink(patch: pytest.MonkeyPatch, *, shards: bool = False) -> None:
    """Make the limits small, so that small trees meet large files and, with `shards`, several shards."""
    patch.setattr(lading.chunking, "WHOLE_FILE_BYTES", SMALL_WHOLE_FILE_BYTES)
    if shards:
        members = tasks.plan._MEMBERS.replace(str(tasks.plan.SHARD_BYTES), "30000")
        patch.setattr(tasks.plan, "_MEMBERS", members.replace(str(tasks.plan.LONE_FILE_BYTES), "50000"))


def noise(seed: int, size: int) -> bytes:
    """Bytes that do not compress, the same on every machine."""
    return hashlib.shake_128(seed.to_bytes(8, "big")).digest(size)


NAMES = st.sampled_from(["a", "b", "c", "B", "ä", "a b", "0", "x" * 120, "日本.txt", "quo'te", '"', "-n", "new\nline"])
DATA = st.one_of(
    st.sampled_from([b"", b"a", b"b", bytes(511), bytes(512), bytes(513), bytes(40_000)]),
    st.builds(noise, st.integers(0, 3), st.sampled_from([100, 5_000, 25_000, 60_000])),
    st.binary(max_size=50),
)
MODES = st.sampled_from([0o644, 0o755, 0o600, 0o444, 0o777])
FILES = st.builds(File, DATA, MODES)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A tree with at least one file."""
    tree: Tree = {}
    for path in draw(st.lists(st.lists(NAMES, min_size=1, max_size=4), min_size=1, max_size=8)):
        put(tree, "/".join(path), draw(entries(len(path) - 1)))
    put(tree, "one", draw(FILES))
    return tree


def entries(depth: int) -> st.SearchStrategy[File | Link | Folder]:
    targets = st.builds(
        lambda climb, names: "../" * climb + "/".join(names),
        st.integers(0, depth),
        st.lists(NAMES, min_size=1, max_size=2),
    )
    return st.one_of(FILES, FILES, FILES, st.builds(Link, targets), st.builds(Folder, st.just(0o755)))


def put(tree: Tree, path: str, entry: File | Link | Folder) -> None:
    """Add an entry unless something else stands there or on the way there."""
    parents = {path[:at] for at, character in enumerate(path) if character == "/"}
    if not parents & tree.keys() and not any(other.startswith(path + "/") for other in tree):
        tree[path] = entry


@st.composite
def edits(draw: st.DrawFn, old: Tree) -> Tree:
    """What some edits make of a tree."""
    tree = dict(old)
    for _ in range(draw(st.integers(0, 6))):
        path = draw(st.sampled_from(sorted(tree)))
        entry = tree[path]
        match draw(st.sampled_from(["add", "remove", "move", "copy", "insert", "replace", "mode"])):
            case "add":
                name = draw(NAMES)
                put(tree, f"new/{name}", draw(entries(1)))
            case "remove" if path != "one":
                del tree[path]
            case "move" if path != "one" and not isinstance(entry, Link):
                del tree[path]
                put(tree, f"moved/{draw(NAMES)}", entry)
            case "copy" if not isinstance(entry, Link):
                put(tree, f"copied/{draw(NAMES)}", entry)
            case "insert" if isinstance(entry, File):
                at = draw(st.integers(0, len(entry.data)))
                tree[path] = File(entry.data[:at] + b"inserted" + entry.data[at:], entry.mode)
            case "replace":
                tree[path] = draw(FILES)
            case "mode" if isinstance(entry, File):
                tree[path] = File(entry.data, draw(MODES))
    return tree
