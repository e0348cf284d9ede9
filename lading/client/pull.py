"""Pull: bring a folder to the state of a release.

A pull may be killed at any moment. The next one finds complete files by their record, chunks of half-made files by the
journal, and fetches the rest. Chunks that the folder holds already, in files of an earlier release, are copied from
there. Every chunk's hash is checked before its bytes count, and a large file's own hash before it takes its place.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import requests

from lading.client.access import Access
from lading.client.compare import Work, compare, list_present, trusted_files, unknown_files
from lading.client.remote import RemoteRelease, open_release
from lading.client.state import State
from lading.client.transfer import Stopped, StoredObject, Transfer
from lading.client.trust import TrustStore
from lading.errors import ConflictError, IntegrityError, LadingError, UsageError
from lading.frames import FrameDecompressor
from lading.http import session as http_session
from lading.index import sha256_of
from lading.names import parse_reference
from lading.paths import Folders, check_path, link_is_safe
from lading.settings import Settings
from lading.shard import MAX_FRAME_BYTES
from lading.tables import Tables

JOBS = 8
"""Parallel requests by default: the gateway takes sixteen of one client as normal."""

GAP_BYTES = 64 * 1024
"""Unwanted bytes between two frames that are fetched along rather than asked around."""

RANGE_BYTES = 8 * 1024 * 1024
"""Size at which a ranged request ends, so that all threads have something to do."""

PIECE_ATTEMPTS = 3
"""How often a chunk that came with wrong bytes is fetched."""

FREE_BYTES = 16 * 1024 * 1024
"""What stays free on the disk for the journal and the tables."""


class Progress(Protocol):
    """Is told how a pull goes on; called from several threads."""

    def planned(self, work: Work) -> None:
        """The work is known."""

    def fetched(self, count: int) -> None:
        """`count` bytes came over the wire."""

    def made(self, count: int) -> None:
        """`count` raw bytes of files were written."""

    def note(self, message: str) -> None:
        """Something that the user should know."""


class Silent:
    """A Progress that says nothing."""

    def planned(self, work: Work) -> None: ...
    def fetched(self, count: int) -> None: ...
    def made(self, count: int) -> None: ...
    def note(self, message: str) -> None: ...


@dataclass(frozen=True, slots=True)
class PullResult:
    """What a pull did. Bytes are raw but `fetched_bytes`, which came over the wire, indexes included.

    already_bytes   of files that were right before
    resumed_bytes   of chunks that an interrupted pull had left in half-made files
    copied_bytes    of chunks that came from other files of the folder
    """

    dataset: str
    version: str
    files: int
    bytes: int
    made_files: int
    already_bytes: int
    resumed_bytes: int
    copied_bytes: int
    fetched_bytes: int
    removed_files: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The result as plain values."""
        return asdict(self)


def pull(
    reference: str,
    dest: Path,
    settings: Settings | None = None,
    *,
    jobs: int = JOBS,
    progress: Progress | None = None,
) -> PullResult:
    """Bring `dest` to the state of `DATASET[@VERSION]`. Returns when every byte is verified.

    Raises a LadingError that says what to do; what was fetched is kept for the next pull in any case.
    """
    if jobs < 1:
        raise UsageError(f"--jobs is {jobs}", "give 1 or more")
    dataset, version = parse_reference(reference)
    settings = settings or Settings.from_env()
    progress = progress or Silent()
    started = time.monotonic()
    stop = threading.Event()
    fetched = _Counter(progress.fetched)
    state = State(dest.absolute())
    session = http_session(jobs + 1)
    try:
        # Access comes first: a wrong key or name must not leave a folder behind.
        access = Access(session, settings, dataset, version)
        transfer = Transfer(session, access, fetched.add, stop)
        state.open()
        try:
            trust = TrustStore(settings.trust_store, progress.note)
            release = open_release(access, transfer, trust, state.indexes)
            puller = _Puller(state, release, transfer, jobs, progress, stop)
            work, removed = puller.run()
        finally:
            state.close()
    except OSError as error:
        raise _disk_error(error, dest) from error
    finally:
        stop.set()
        session.close()
    return PullResult(
        dataset=dataset,
        version=release.manifest.version,
        files=work.files,
        bytes=work.bytes,
        made_files=work.todo_files,
        already_bytes=work.bytes - work.todo_bytes,
        resumed_bytes=work.done_bytes,
        copied_bytes=work.local_bytes,
        fetched_bytes=fetched.total,
        removed_files=removed,
        seconds=time.monotonic() - started,
    )


class _Counter:
    """Adds up bytes from several threads and passes them on."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self.total = 0
        self._tell = tell
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self.total += count
        self._tell(count)


class _Entry(NamedTuple):
    """A wanted file: `chunks` is how many of its chunks are not in its partial file yet."""

    path: str
    size: int
    sha256: bytes
    mode: int
    mtime: int
    partial: str


class _Target(NamedTuple):
    """A place that a chunk goes to."""

    path: str
    partial: str
    seq: int
    file_offset: int


class _Chunk(NamedTuple):
    """A chunk in a frame, and where it goes."""

    inner_offset: int
    length: int
    sha256: bytes
    targets: list[_Target]


class _Frame(NamedTuple):
    """A frame to fetch."""

    offset: int
    length: int
    chunks: list[_Chunk]


class _Range(NamedTuple):
    """Frames that one request fetches."""

    shard: str
    frames: list[_Frame]


class _Puller:
    """One pull, once the release is known."""

    def __init__(
        self,
        state: State,
        release: RemoteRelease,
        transfer: Transfer,
        jobs: int,
        progress: Progress,
        stop: threading.Event,
    ) -> None:
        self._state = state
        self._release = release
        self._transfer = transfer
        self._jobs = jobs
        self._progress = progress
        self._stop = stop
        self._shards = release.shards
        self._decompress = FrameDecompressor()
        self._folders = Folders(state.dest)
        self._open_files: dict[str, _Assembly] = {}
        self._lock = threading.Lock()
        self._damaged = False

    def run(self) -> tuple[Work, int]:
        """Do it; returns the work as planned at first, and how many files were removed."""
        first: Work | None = None
        removed = 0
        for _ in range(2):
            with Tables(spill=self._state.root / "spill") as tables:
                work = self._plan(tables)
                first = first or work
                self._damaged = False
                removed += self._apply(tables)
                if not self._damaged:
                    self._state.finish(tables, self._record())
                    return first, removed
        raise IntegrityError("a file is wrong although all its chunks are right", "tell the publisher of the release")

    def _record(self) -> dict[str, Any]:
        manifest = self._release.manifest
        return {
            "dataset": manifest.dataset,
            "version": manifest.version,
            "manifest_sha256": self._release.manifest_sha256,
        }

    def _plan(self, tables: Tables) -> Work:
        tables.view("files", self._release.files)
        tables.view("chunks", self._release.chunks)
        self._state.load(tables)
        list_present(tables, self._state.dest, self._state.root / "present.ndjson")
        trusted_files(tables)
        unknown = unknown_files(tables)
        if unknown:
            self._adopt(unknown)
            self._state.load(tables)
            trusted_files(tables)
        old = [f for f in self._state.indexes.iterdir() if all((f / n).exists() for n in _INDEX_NAMES)]
        work = compare(tables, old)
        self._check(tables, work)
        self._progress.planned(work)
        return work

    def _adopt(self, unknown: list[tuple[str, bytes, int]]) -> None:
        """Record the files among `unknown` that have the wanted content."""

        def look(file: tuple[str, bytes, int]) -> None:
            path = self._state.dest / file[0]
            before = path.lstat()
            if sha256_of(path) == file[1].hex():
                self._state.note_file(file[0], file[2], before.st_mtime_ns, file[1])

        with ThreadPoolExecutor(self._jobs) as pool:
            list(pool.map(look, unknown))

    def _check(self, tables: Tables, work: Work) -> None:
        """Refuse unsafe paths, unknown shards and a disk that is too small, before anything is changed."""
        for path, kind, target in tables.rows("SELECT path, type, target FROM todo"):
            check_path(path)
            if kind == "symlink" and not link_is_safe(path, target or ""):
                raise IntegrityError(
                    f"the index holds an unsafe link {path!r}", "do not use this release; tell its publisher"
                )
        for (shard,) in tables.rows("SELECT DISTINCT shard FROM remote_pieces"):
            if shard not in self._shards:
                raise IntegrityError("the index names a shard that the manifest lacks", "tell the publisher")
        free = shutil.disk_usage(self._state.dest).free
        missing = work.todo_bytes - work.done_bytes
        if missing + FREE_BYTES > free:
            raise LadingError(
                f"{self._state.dest} has {_size(free)} free and needs {_size(missing + FREE_BYTES)}",
                "free some space or give another folder, then pull again",
            )

    def _apply(self, tables: Tables) -> int:
        """Copy, remove, fetch, in this order: a file that is a source must not be replaced before it was read."""
        self._expect(tables)
        self._copy_local(tables)
        removed = self._remove(tables)
        for assembly in list(self._open_files.values()):
            if assembly.complete:
                self._finish_large(assembly)
        self._make_entries(tables)
        self._fetch(tables)
        return removed

    def _expect(self, tables: Tables) -> None:
        """Open the books of every file that gets more than one chunk or chunks from the folder itself."""
        self._open_files.clear()
        rows = tables.rows(
            "SELECT t.path, t.size, t.sha256, t.mode, t.mtime, t.partial, count(*) FILTER (NOT n.done) "
            "FROM todo t JOIN needed n USING (path) WHERE t.type = 'file' GROUP BY ALL "
            "HAVING count(*) > 1 OR t.path IN (SELECT path FROM local_pieces) ORDER BY t.path"
        )
        for *entry, missing in rows:
            self._open_files[entry[0]] = _Assembly(_Entry._make(entry), missing, self._state.partial)
        wanted = {assembly.entry.partial for assembly in self._open_files.values()}
        for stale in self._state.partial.iterdir():
            if stale.name not in wanted:
                stale.unlink()

    def _copy_local(self, tables: Tables) -> None:
        """Copy chunks that other files of the folder hold. A chunk that is not what it was is fetched instead."""
        missed = []
        for path, partial, seq, file_offset, length, digest, source, source_offset in tables.rows(
            "SELECT path, partial, seq, file_offset, length, chunk_sha256, source, source_offset FROM local_pieces "
            "ORDER BY source, source_offset"
        ):
            try:
                with (self._state.dest / source).open("rb") as file:
                    file.seek(source_offset)
                    data = file.read(length)
            except OSError:
                data = b""
            if hashlib.sha256(data).digest() != digest:
                missed.append((partial, seq))
                continue
            self._write_piece(_Target(path, partial, seq, file_offset), data)
            self._progress.made(length)
        if missed:
            tables.run("CREATE OR REPLACE TABLE missed (partial VARCHAR, seq INTEGER)")
            tables.connection.executemany("INSERT INTO missed VALUES (?, ?)", missed)
            tables.run(
                "INSERT INTO remote_pieces SELECT n.path, n.partial, n.seq, n.file_offset, n.length, n.chunk_sha256, "
                "lower(hex(n.shard)), n.frame_offset, n.frame_length, n.inner_offset "
                "FROM needed n SEMI JOIN missed USING (partial, seq)"
            )

    def _remove(self, tables: Tables) -> int:
        """Remove files that Lading wrote and the release lacks; one that was changed since is kept."""
        removed = 0
        for path, ours in tables.rows(
            "SELECT o.path, t.path IS NOT NULL FROM obsolete o LEFT JOIN trusted t USING (path) "
            "SEMI JOIN present p ON p.path = o.path ORDER BY o.path DESC"
        ):
            if not ours:
                self._progress.note(f"keeping {path}: it is not in this release, but was changed here")
                self._state.note_gone(path)
                continue
            (self._state.dest / path).unlink(missing_ok=True)
            self._state.note_gone(path)
            removed += 1
            self._prune(path)
        return removed

    def _prune(self, path: str) -> None:
        """Remove the folders above a removed file that are empty now."""
        for parent in Path(path).parents:
            if parent == Path():
                return
            try:
                (self._state.dest / parent).rmdir()
            except OSError:
                return

    def _make_entries(self, tables: Tables) -> None:
        """Make links, empty folders and empty files."""
        for path, kind, target, mode, mtime, digest in tables.rows(
            "SELECT path, type, target, mode, mtime, sha256 FROM todo WHERE type <> 'file' OR size = 0 ORDER BY path"
        ):
            if kind == "dir":
                self._folders.ensure(path)
                continue
            self._folders.ensure_parent(path)
            partial = self._state.partial / "entry"
            partial.unlink(missing_ok=True)
            if kind == "symlink":
                partial.symlink_to(target)
                self._move(partial, path)
            else:
                partial.touch()
                self._install(partial, _Entry(path, 0, digest, mode, mtime, ""))

    def _fetch(self, tables: Tables) -> None:
        """Fetch all remote pieces on a pool of threads; the first failure stops them all."""
        singles = {}
        for row in tables.rows(
            "SELECT path, size, sha256, mode, mtime, partial FROM todo WHERE type = 'file' AND size > 0"
        ):
            if row[0] not in self._open_files:
                singles[row[0]] = _Entry._make(row)
        pending: set[Future[None]] = set()
        with ThreadPoolExecutor(self._jobs, thread_name_prefix="pull") as pool:
            try:
                for item in ranges(_frames(tables)):
                    pending.add(pool.submit(self._fetch_range, item, singles))
                    while len(pending) >= 2 * self._jobs:
                        pending = self._collect(pending)
                while pending:
                    pending = self._collect(pending)
            except BaseException:
                self._stop.set()
                for future in pending:
                    future.cancel()
                raise

    def _collect(self, pending: set[Future[None]]) -> set[Future[None]]:
        """Wait until something is done, and raise what failed."""
        # A short time-out keeps Ctrl-C alive on systems whose waits cannot be interrupted.
        done, rest = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
        return rest

    def _fetch_range(self, item: _Range, singles: dict[str, _Entry]) -> None:
        stored = self._shards[item.shard]
        frames = self._transfer.pieces(stored, [(frame.offset, frame.length) for frame in item.frames])
        for frame, data in zip(item.frames, frames, strict=True):
            if self._stop.is_set():
                raise Stopped
            for chunk, raw in self._open_frame(stored, frame, data):
                for target in chunk.targets:
                    single = singles.get(target.path)
                    if single is None:
                        self._write_piece(target, raw)
                        assembly = self._open_files[target.path]
                        if assembly.complete:
                            self._finish_large(assembly)
                    else:
                        self._write_single(single, raw)
                    self._progress.made(len(raw))

    def _open_frame(self, stored: StoredObject, frame: _Frame, data: bytes) -> Iterator[tuple[_Chunk, memoryview]]:
        """The verified chunks of a frame; it is fetched again if its bytes are wrong."""
        for attempt in range(1, PIECE_ATTEMPTS + 1):
            try:
                raw = memoryview(self._decompress(data, MAX_FRAME_BYTES))
                views = [raw[chunk.inner_offset : chunk.inner_offset + chunk.length] for chunk in frame.chunks]
                for chunk, view in zip(frame.chunks, views, strict=True):
                    if hashlib.sha256(view).digest() != chunk.sha256:
                        raise IntegrityError(
                            f"bytes of {chunk.targets[0].path!r} do not match their SHA-256", "tell the publisher"
                        )
            except IntegrityError:
                if attempt == PIECE_ATTEMPTS:
                    raise
                (data,) = self._transfer.pieces(stored, [(frame.offset, frame.length)])
            else:
                yield from zip(frame.chunks, views, strict=True)
                return

    def _write_single(self, entry: _Entry, raw: memoryview) -> None:
        """A file of one chunk: written beside, then moved into its place."""
        self._folders_for(entry.path)
        partial = self._state.partial / entry.partial
        with partial.open("wb") as file:
            file.write(raw)
        self._install(partial, entry)

    def _write_piece(self, target: _Target, raw: bytes | memoryview) -> None:
        assembly = self._open_files[target.path]
        assembly.write(target.file_offset, raw)
        self._state.note_chunk(target.partial, target.seq)
        with self._lock:
            assembly.missing -= 1

    def _finish_large(self, assembly: _Assembly) -> None:
        """A file of several chunks: checked as a whole, then moved into its place."""
        with self._lock:
            if assembly.finished:
                return
            assembly.finished = True
        assembly.sync()
        entry = assembly.entry
        partial = self._state.partial / entry.partial
        if partial.stat().st_size != entry.size or sha256_of(partial) != entry.sha256.hex():
            # Its chunks were right one by one, so the partial file was damaged since: the next pass fetches it anew.
            partial.unlink()
            self._state.note_dropped(entry.partial)
            self._damaged = True
            return
        self._folders_for(entry.path)
        self._install(partial, entry)

    def _folders_for(self, path: str) -> None:
        with self._lock:
            self._folders.ensure_parent(path)

    def _install(self, partial: Path, entry: _Entry) -> None:
        """Give a complete file its mode, mtime and place, and note it."""
        mtime_ns = entry.mtime * 1_000_000_000
        partial.chmod(entry.mode | stat.S_IWUSR)
        os.utime(partial, ns=(mtime_ns, mtime_ns))
        self._move(partial, entry.path)
        self._state.note_file(entry.path, entry.size, mtime_ns, entry.sha256)

    def _move(self, partial: Path, path: str) -> None:
        final = self._state.dest / path
        try:
            partial.replace(final)
        except (IsADirectoryError, PermissionError):
            if not final.is_dir() or final.is_symlink():
                raise
            try:
                final.rmdir()
            except OSError:
                raise ConflictError(
                    f"{final} is in the way: a file has to stand there", "move the folder away and pull again"
                ) from None
            partial.replace(final)


_INDEX_NAMES = ("files.parquet", "chunks.parquet")


class _Assembly:
    """A file that is put together from several chunks, in a partial file of a fixed name."""

    def __init__(self, entry: _Entry, missing: int, folder: Path) -> None:
        self.entry = entry
        self.missing = missing
        self.finished = False
        self._path = folder / entry.partial
        self._lock = threading.Lock()

    @property
    def complete(self) -> bool:
        return self.missing == 0

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write at an offset; opening it each time keeps the number of open files small."""
        flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(self._path, flags, 0o600)
        try:
            if hasattr(os, "pwrite"):
                view = memoryview(data)
                while view:
                    written = os.pwrite(descriptor, view, offset)
                    view, offset = view[written:], offset + written
            else:
                with self._lock, os.fdopen(os.dup(descriptor), "r+b") as file:
                    file.seek(offset)
                    file.write(data)
        finally:
            os.close(descriptor)

    def sync(self) -> None:
        """Force the bytes to the disk before the file takes its place."""
        with self._path.open("rb+") as file:
            os.fsync(file.fileno())


def _frames(tables: Tables) -> Iterator[tuple[str, _Frame]]:
    """The frames to fetch with the chunks that are wanted of them, by shard and offset."""
    rows = tables.rows(
        "SELECT shard, frame_offset, frame_length, inner_offset, length, chunk_sha256, path, partial, seq, file_offset "
        "FROM remote_pieces ORDER BY shard, frame_offset, inner_offset, path, seq"
    )
    for (shard, offset, length), in_frame in groupby(rows, key=lambda row: row[:3]):
        chunks = [
            _Chunk(inner_offset, size, digest, [_Target._make(row[6:]) for row in same])
            for (inner_offset, size, digest), same in groupby(in_frame, key=lambda row: row[3:6])
        ]
        yield shard, _Frame(offset, length, chunks)


def ranges(frames: Iterable[tuple[str, _Frame]]) -> Iterator[_Range]:
    """Group frames that lie near each other into requests of about RANGE_BYTES."""
    current: _Range | None = None
    for shard, frame in frames:
        if current is not None:
            first, last = current.frames[0], current.frames[-1]
            end = last.offset + last.length
            near = shard == current.shard and frame.offset - end <= GAP_BYTES
            if near and frame.offset + frame.length - first.offset <= RANGE_BYTES:
                current.frames.append(frame)
                continue
            yield current
        current = _Range(shard, [frame])
    if current is not None:
        yield current


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _disk_error(error: OSError, dest: Path) -> LadingError:
    """What an operating system error during a pull means for the user."""
    if isinstance(error, requests.RequestException):
        return LadingError(f"the pull failed: {error}", "try again; what was fetched is kept")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LadingError(
            f"the disk is full: {dest} cannot take more", "free some space and pull again; what was fetched is kept"
        )
    return LadingError(
        f"{error.filename or dest}: {error.strerror}", "mend it and pull again; what was fetched is kept"
    )
