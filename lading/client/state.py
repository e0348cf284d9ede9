"""State of a pulled folder, below DEST/.lading: what Lading wrote there, and what is half done.

journal.ndjson     what was done since installed.parquet was written, one line each, appended as it happens
installed.parquet  every file that Lading wrote: path, size, mtime_ns, sha256
partial/           files that are not complete; their names follow from path and content
index/             manifests and indexes of the releases that the files come from
unfinished         is there from the beginning of a pull to its end
release.json       the release that was pulled last, and whether all of it was (`complete`)
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lading.duck import duckdb
from lading.errors import ConflictError, UsageError
from lading.paths import OWN_FOLDER
from lading.tables import Tables, literal

JOURNAL_COLUMNS = {
    "n": "BIGINT",
    "op": "VARCHAR",
    "path": "VARCHAR",
    "size": "BIGINT",
    "mtime_ns": "BIGINT",
    "sha256": "VARCHAR",
    "partial": "VARCHAR",
    "seq": "INTEGER",
}


_encode = json.JSONEncoder(separators=(",", ":")).encode


class State:
    """The state below one folder, locked for this process from `open` to `close`."""

    def __init__(self, dest: Path) -> None:
        self.dest = dest
        self.root = dest / OWN_FOLDER
        self.partial = self.root / "partial"
        self.indexes = self.root / "index"
        self._journal = self.root / "journal.ndjson"
        self._installed = self.root / "installed.parquet"
        self._release = self.root / "release.json"
        self._unfinished = self.root / "unfinished"
        self._lock = FileLock(self.root / "lock")
        self._mutex = threading.Lock()
        self._descriptor = -1
        self._count = 0

    def open(self) -> None:
        """Make the folders and take the lock. Raises ConflictError if another pull holds it, UsageError."""
        try:
            for folder in (self.dest, self.root, self.partial, self.indexes):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(blocking=False)
        except Timeout:
            raise ConflictError(f"another pull is at work in {self.dest}", "wait for it, then pull again") from None
        except OSError as error:
            raise UsageError(f"{self.dest} cannot be written ({error.strerror})", "give another folder") from error

    def close(self) -> None:
        """Let go of the journal and the lock."""
        with self._mutex:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
        self._lock.release()

    def load(self, tables: Tables) -> None:
        """Name the tables `installed` (path, size, mtime_ns, sha256) and `done` (partial, seq); open the journal."""
        self._journal.touch()
        tables.load("journal", self._journal, JOURNAL_COLUMNS, torn=True)
        self._count = tables.row("SELECT coalesce(max(n), 0) FROM journal")[0]
        if not self._has_installed(tables):
            tables.save(
                "SELECT ''::VARCHAR AS path, 0::BIGINT AS size, 0::BIGINT AS mtime_ns, ''::BLOB AS sha256 WHERE false",
                self._installed,
            )
        tables.run(
            "CREATE OR REPLACE TABLE installed AS SELECT path, size, mtime_ns, sha256 FROM ("
            "SELECT path, unnest(arg_max({'op': op, 'size': size, 'mtime_ns': mtime_ns, 'sha256': sha256}, n)) FROM ("
            "SELECT n, op, path, size, mtime_ns, unhex(sha256) AS sha256 FROM journal WHERE op IN ('file', 'gone') "
            f"UNION ALL SELECT 0, 'file', * FROM read_parquet({literal(self._installed)})"
            ") GROUP BY path) WHERE op = 'file'"
        )
        tables.run(
            "CREATE OR REPLACE TABLE done AS SELECT DISTINCT partial, seq FROM journal j WHERE op = 'chunk' AND n > "
            "coalesce((SELECT max(n) FROM journal d WHERE d.op = 'drop' AND d.partial = j.partial), 0)"
        )
        if self._descriptor < 0:
            self._descriptor = os.open(self._journal, os.O_WRONLY | os.O_APPEND)
            # A crash may have left half a line: what follows must not be glued to it.
            os.write(self._descriptor, b"\n")

    def _has_installed(self, tables: Tables) -> bool:
        """Whether the record of what Lading wrote is there. A damaged one counts as none: then files are found by
        their content, as in a folder without a state."""
        try:
            tables.run(f"SELECT path, size, mtime_ns, sha256 FROM read_parquet({literal(self._installed)}) LIMIT 0")
        except duckdb.Error:
            return False
        return True

    def note_file(self, path: str, size: int, mtime_ns: int, sha256: bytes) -> None:
        """A file is complete in its place."""
        self.note_files([(path, size, mtime_ns, sha256)])

    def note_files(self, files: Iterable[tuple[str, int, int, bytes]]) -> None:
        """Files, each with size, mtime in ns and SHA-256, are complete in their places: one write for them all."""
        self._note(
            {"op": "file", "path": path, "size": size, "mtime_ns": mtime_ns, "sha256": sha256.hex()}
            for path, size, mtime_ns, sha256 in files
        )

    def note_suspect(self, path: str, size: int, sha256: bytes) -> None:
        """A file that Lading wrote is not what it was: it stays Lading's, and the next pull looks at it."""
        self.note_file(path, size, -1, sha256)

    def note_gone(self, path: str) -> None:
        """A file that Lading wrote was removed, or is the user's from now on."""
        self._note([{"op": "gone", "path": path}])

    def note_chunk(self, partial: str, seq: int) -> None:
        """Chunk `seq` is written to a partial file."""
        self._note([{"op": "chunk", "partial": partial, "seq": seq}])

    def note_dropped(self, partial: str) -> None:
        """A partial file was thrown away: earlier chunks of it do not count."""
        self._note([{"op": "drop", "partial": partial}])

    def finish(self, tables: Tables, release: dict[str, Any], *, partial: bool = False) -> None:
        """Fold the journal into installed.parquet and remember the release.

        After a partial pull, half-made files and the indexes of other releases stay: a later pull has use for them.
        """
        os.close(self._descriptor)
        self._descriptor = -1
        self.load(tables)
        tables.save("SELECT * FROM installed ORDER BY path", self._installed)
        write_atomically(self._release, json.dumps(release, sort_keys=True).encode() + b"\n")
        self._unfinished.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1
        if partial:
            chunks = tables.rows("SELECT partial, seq FROM done ORDER BY ALL")
            kept = [{"op": "chunk", "partial": p, "seq": seq} for p, seq in chunks if (self.partial / p).exists()]
            lines = [json.dumps({"n": n, **chunk}, separators=(",", ":")) for n, chunk in enumerate(kept, 1)]
            write_atomically(self._journal, "".join(line + "\n" for line in lines).encode())
            return
        self._journal.unlink()
        shutil.rmtree(self.partial, ignore_errors=True)
        for index in self.indexes.iterdir():
            if index.name != release["manifest_sha256"]:
                shutil.rmtree(index, ignore_errors=True)

    @property
    def finished(self) -> bool:
        """Whether no pull was interrupted since the last one that came to its end."""
        return not self._unfinished.exists()

    def begin(self) -> None:
        """A pull begins to change the folder."""
        self._unfinished.touch()

    def release(self) -> dict[str, Any] | None:
        """The release that was pulled last, None before the first."""
        try:
            document = json.loads(self._release.read_bytes())
            return document if isinstance(document, dict) else None
        except (FileNotFoundError, ValueError):
            return None

    def _note(self, notes: Iterable[dict[str, Any]]) -> None:
        with self._mutex:
            lines = "".join(_encode({"n": n, **note}) + "\n" for n, note in enumerate(notes, self._count + 1)).encode()
            if not lines:
                return
            self._count += lines.count(b"\n")
            written = os.write(self._descriptor, lines)
            if written < len(lines):
                # The disk is full: end the torn line, so that later ones survive.
                os.write(self._descriptor, b"\n")


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a small file by rename, so that a reader sees the old or the new one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.replace(path)
