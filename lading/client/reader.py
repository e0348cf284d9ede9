"""Reader: a release opened for reading single files, without a folder to pull it to.

Index files are kept below LADING_HOME/cache, by the SHA-256 of their manifest; frames are kept in memory, a bounded
number of bytes of them. Every chunk's hash is checked before its bytes are given out.
"""

from __future__ import annotations

import hashlib
import io
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from lading.client.access import Access
from lading.client.plan import GAP_BYTES
from lading.client.remote import RemoteRelease, open_release
from lading.client.select import select
from lading.client.selection import Selection
from lading.client.smalltables import SmallTables
from lading.client.transfer import StoredObject, Transfer
from lading.client.trust import TrustStore
from lading.errors import IntegrityError, NotFoundError
from lading.frames import FrameDecompressor
from lading.http import session as http_session
from lading.index import FILE_COLUMNS, view_chunks
from lading.names import parse_reference
from lading.settings import Settings
from lading.shard import MAX_FRAME_BYTES

CACHE_BYTES = 32 * 1024 * 1024
"""Raw bytes of frames that a release keeps in memory: small files that lie together are fetched together."""

AHEAD_CHUNKS = 8
"""Most chunks that a file which is read from front to back asks for at once."""

FRAME_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file, link or empty folder of a release: size in bytes, mtime in seconds since the epoch, SHA-256 in hex.

    `labels` holds the release's own columns, such as a label or a split.
    """

    path: str
    type: str
    size: int
    sha256: str | None
    mode: int
    mtime: int
    target: str | None = None
    labels: dict[str, Any] = field(default_factory=dict)
    file_id: int = field(default=-1, repr=False)


class Place(NamedTuple):
    """Where a chunk of a file lies: `start` is its place in the file."""

    start: int
    length: int
    sha256: bytes
    shard: str
    frame_offset: int
    frame_length: int
    inner_offset: int


class Reader:
    """A release for reading; used as a context manager, or closed by `close`. Thread-safe."""

    def __init__(
        self,
        reference: str,
        settings: Settings | None = None,
        note: Callable[[str], None] = lambda message: None,
    ) -> None:
        """Open `DATASET[@VERSION]`. Raises UsageError, AccessError, NotFoundError, IntegrityError, TransferError."""
        settings = settings or Settings.from_env()
        dataset, version = parse_reference(reference)
        self._session = http_session(AHEAD_CHUNKS)
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._cached_bytes = 0
        self._decompress = FrameDecompressor()
        try:
            access = Access(self._session, settings, dataset, version, note=note)
            self._transfer = Transfer(self._session, access)
            self._folder = settings.home / "cache" / dataset
            trust = TrustStore(settings.trust_store, note)
            self.release: RemoteRelease = open_release(access, self._transfer, trust, self._folder)
            self._shards = self.release.shards
            self._tables = SmallTables()
            self._tables.view("files", self.release.files)
            view_chunks(self._tables, "chunks", self.release.files, self.release.chunks)
        except BaseException:
            self._session.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close connections and tables; files that are open can be read no more."""
        self._session.close()
        self._tables.connection.close()

    @property
    def name(self) -> str:
        """`DATASET@VERSION` of what is open."""
        return f"{self.release.manifest.dataset}@{self.release.manifest.version}"

    def files(self, selection: Selection) -> Iterator[FileInfo]:
        """Entries of the release that are selected, by path. Raises UsageError, NotFoundError for none at all."""
        with SmallTables() as tables:
            select(tables, self.release.files, selection, self.release.files.parent)
            described = tables.connection.execute("SELECT * FROM files LIMIT 0").description or []
            columns = [column[0] for column in described]
            for row in tables.rows("SELECT * FROM files ORDER BY path"):
                yield _info(dict(zip(columns, row, strict=True)))

    def find(self, path: str) -> FileInfo:
        """A file by its path; links are followed. Raises NotFoundError."""
        asked = path
        for _ in range(16):
            with self._lock:
                cursor = self._tables.cursor()
                row = cursor.execute("SELECT * FROM files WHERE path = ?", [path]).fetchone()
                columns = [column[0] for column in cursor.description or []]
            if row is None:
                break
            info = _info(dict(zip(columns, row, strict=True)))
            if info.type != "symlink":
                return info
            path = _resolved(path, info.target or "")
        raise NotFoundError(f"{self.name} has no file {asked!r}", f"'lading ls {self.name}' lists what there is")

    def open(self, path: str) -> RemoteFile:
        """Open a file for reading. Raises NotFoundError."""
        info = self.find(path)
        if info.type != "file":
            raise NotFoundError(f"{path!r} of {self.name} is a folder", "name a file")
        with self._lock:
            rows = self._tables.rows(
                "SELECT length, chunk_sha256, lower(hex(shard)), frame_offset, frame_length, inner_offset "
                "FROM chunks WHERE file_id = ? ORDER BY seq",
                info.file_id,
            )
            chunks, start = [], 0
            for row in rows:
                chunks.append(Place(start, *row))
                start += row[0]
        if start != info.size:
            raise IntegrityError(f"the index holds {start} bytes of {path!r}, not {info.size}", "tell the publisher")
        return RemoteFile(self, info, chunks)

    def chunks(self, wanted: list[Place]) -> memoryview:
        """The verified first of some chunks of one file; the others are fetched along, where that is one request."""
        first = wanted[0]
        for attempt in range(1, FRAME_ATTEMPTS + 1):
            raw = self._cached(first)
            if raw is None:
                raw = self._fetch(wanted if attempt == 1 else wanted[:1])
            data = memoryview(raw)[first.inner_offset : first.inner_offset + first.length]
            if hashlib.sha256(data).digest() == first.sha256:
                return data
            self._forget(first)
        raise IntegrityError(f"bytes of {self.name} do not match their SHA-256", "tell the publisher")

    def _fetch(self, wanted: list[Place]) -> bytes:
        """The raw frame of the first place; those of the others are kept for later."""
        run = [wanted[0]]
        for place in wanted[1:]:
            end = run[-1].frame_offset + run[-1].frame_length
            if place.shard != run[-1].shard or not 0 <= place.frame_offset - end <= GAP_BYTES:
                break
            if self._cached(place) is not None:
                break
            run.append(place)
        stored = self._shards.get(run[0].shard)
        if stored is None:
            raise IntegrityError("the index names a shard that the manifest lacks", "tell the publisher")
        pieces = [(place.frame_offset, place.frame_length) for place in run]
        first = b""
        for place, frame in zip(run, self._transfer.pieces(stored, pieces), strict=True):
            raw = self._opened(stored, place, frame)
            first = first or raw
            self._keep(place, raw)
        return first

    def _opened(self, stored: StoredObject, place: Place, frame: bytes | bytearray) -> bytes:
        for attempt in range(1, FRAME_ATTEMPTS + 1):
            try:
                return self._decompress(frame, MAX_FRAME_BYTES)
            except IntegrityError:
                if attempt == FRAME_ATTEMPTS:
                    raise
                frame = self._transfer.again(stored, place.frame_offset, place.frame_length)
        raise AssertionError("unreachable")

    def _cached(self, place: Place) -> bytes | None:
        key = (place.shard, place.frame_offset)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        return None

    def _keep(self, place: Place, raw: bytes) -> None:
        with self._lock:
            if self._cache.setdefault((place.shard, place.frame_offset), raw) is raw:
                self._cached_bytes += len(raw)
            while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
                _, dropped = self._cache.popitem(last=False)
                self._cached_bytes -= len(dropped)

    def _forget(self, place: Place) -> None:
        with self._lock:
            dropped = self._cache.pop((place.shard, place.frame_offset), b"")
            self._cached_bytes -= len(dropped)


class RemoteFile(io.RawIOBase):
    """A file of a release: seekable, fetched by ranges as it is read. For small reads, `io.BufferedReader` wraps it."""

    def __init__(self, reader: Reader, info: FileInfo, chunks: list[Place]) -> None:
        super().__init__()
        self.info = info
        self.name = info.path
        self._reader = reader
        self._chunks = chunks
        self._starts = [chunk.start for chunk in chunks]
        self._position = 0
        self._expected = 0
        self._ahead = 1
        self.on_close: Callable[[], None] | None = None

    def close(self) -> None:
        """Close the file, and what was opened for it alone."""
        if not self.closed and self.on_close is not None:
            self.on_close()
        super().close()

    @property
    def places(self) -> list[Place]:
        """Where the parts of the file lie, in order."""
        return list(self._chunks)

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position; nothing is fetched before something is read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.info.size}[whence]
        if base + offset < 0:
            raise ValueError("negative position")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read verified bytes into a buffer, to the end of a chunk at most; returns how many, 0 at the end."""
        if self.closed:
            raise ValueError("the file is closed")
        if self._position >= self.info.size:
            return 0
        number = bisect_right(self._starts, self._position) - 1
        # Read from front to back, a file asks for more chunks at once each time; after a jump, for one.
        self._ahead = min(AHEAD_CHUNKS, self._ahead * 2) if self._position == self._expected else 1
        chunk = self._chunks[number]
        data = self._reader.chunks(self._chunks[number : number + self._ahead])
        view = memoryview(buffer).cast("B")
        inside = self._position - chunk.start
        count = min(len(view), chunk.length - inside)
        view[:count] = data[inside : inside + count]
        self._position += count
        self._expected = self._position
        return count


def _info(row: dict[str, Any]) -> FileInfo:
    digest = row["sha256"]
    return FileInfo(
        path=row["path"],
        type=row["type"],
        size=row["size"] or 0,
        sha256=digest.hex() if digest is not None else None,
        mode=row["mode"] or 0,
        mtime=row["mtime"] or 0,
        target=row["target"],
        labels={name: value for name, value in row.items() if name not in FILE_COLUMNS},
        file_id=row["file_id"],
    )


def _resolved(path: str, target: str) -> str:
    """Where a link leads, below the release's root; '..' above it has no effect, as in a file system's root."""
    parts = path.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def split_path(text: str) -> tuple[str, str]:
    """`DATASET[@VERSION]/PATH`, with or without `lading://`, as reference and path. Neither is checked."""
    reference, _, path = text.removeprefix("lading://").partition("/")
    return reference, path.strip("/")


def cache_folder(settings: Settings) -> Path:
    """Where indexes of releases that were read are kept; it may be removed at any time."""
    return settings.home / "cache"
