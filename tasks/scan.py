"""Scan: what the source tree holds, without reading any file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lading.errors import SourceError
from lading.paths import OWN_FOLDER, link_is_safe
from lading.tables import NdjsonWriter, Tables
from lading.tree import walk
from tasks.progress import advance

ADVANCE_ENTRIES = 1000
"""How often a scan says how far it is."""

ENTRY_COLUMNS = {
    "path": "VARCHAR",
    "type": "VARCHAR",
    "target": "VARCHAR",
    "size": "BIGINT",
    "mode": "INTEGER",
    "mtime": "BIGINT",
    "mtime_ns": "BIGINT",
    "ctime_ns": "BIGINT",
    "inode": "UBIGINT",
}


@dataclass(frozen=True, slots=True)
class ScanSummary:
    """What was found: numbers of files and other entries, bytes in files, and warnings for people."""

    files: int
    entries: int
    bytes: int
    warnings: tuple[str, ...]


def scan(source: Path, table: Path) -> ScanSummary:
    """Walk `source` and write its entries to the Parquet file `table`, sorted by path.

    Raises SourceError for a missing or empty source, names that are not UTF-8, special files, and links that lead out
    of the tree. Names that differ by case or Unicode form only are reported as warnings.
    """
    listing = table.with_suffix(".ndjson")
    with NdjsonWriter(listing) as rows:
        for number, entry in enumerate(rows_of(source), start=1):
            rows.write(entry)
            if number % ADVANCE_ENTRIES == 0:
                advance("scan", ADVANCE_ENTRIES, unit="files")
    with Tables(spill=table.parent / "spill") as tables:
        tables.load("listing", listing, ENTRY_COLUMNS)
        tables.save("SELECT * FROM listing ORDER BY path", table)
        tables.view("entries", table)
        files, entries, size = tables.row(
            "SELECT count(*) FILTER (type = 'file'), count(*), coalesce(sum(size), 0)::BIGINT FROM entries"
        )
        colliding = tables.rows(
            "SELECT min(path), max(path) FROM entries GROUP BY lower(nfc_normalize(path)) HAVING count(*) > 1 "
            "ORDER BY 1 LIMIT 10"
        )
        warnings = tuple(f"{one!r} and {other!r} are one name on some file systems" for one, other in colliding)
    listing.unlink()
    if not files:
        raise SourceError(f"there are no files in {source}", "check the path")
    return ScanSummary(files, entries, size, warnings)


def rows_of(source: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for each file, symbolic link and empty folder below `source`."""
    if os.path.lexists(source / OWN_FOLDER):
        raise SourceError(
            f"the source has a top-level {OWN_FOLDER!r}", "remove or rename it: Lading keeps its own there"
        )
    try:
        for path, entry in walk(source):
            _check_utf8(path, "a name")
            if entry is None:
                yield _row(path, "dir", (source / path).stat(follow_symlinks=False))
            else:
                yield _entry(path, entry)
    except PermissionError as error:
        raise SourceError(f"{error.filename} cannot be read", "check its permissions") from error
    except FileNotFoundError as error:
        raise SourceError(f"{error.filename} vanished during the scan", "release when nothing writes there") from error


def _entry(path: str, entry: os.DirEntry[str]) -> dict[str, Any]:
    status = entry.stat(follow_symlinks=False)
    if stat.S_ISREG(status.st_mode):
        return _row(path, "file", status, size=status.st_size)
    if stat.S_ISLNK(status.st_mode):
        target = str(Path(entry.path).readlink())
        _check_link(path, target)
        return _row(path, "symlink", status, target=target)
    raise SourceError(
        f"{path!r} is a device, socket or pipe", "a release holds files, links and folders only: remove it"
    )


def _row(path: str, kind: str, status: os.stat_result, size: int = 0, target: str | None = None) -> dict[str, Any]:
    return {
        "path": path,
        "type": kind,
        "target": target,
        "size": size,
        "mode": stat.S_IMODE(status.st_mode) & 0o777,
        "mtime": max(0, int(status.st_mtime)),
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "inode": status.st_ino,
    }


def _check_link(path: str, target: str) -> None:
    """Refuse a link whose target is absolute or may climb out of the tree."""
    if not link_is_safe(path, target):
        raise SourceError(f"the link {path!r} may lead out of the source, to {target!r}", "remove it or copy the file")
    _check_utf8(target, f"the target of the link {path!r}")


def _check_utf8(text: str, what: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise SourceError(f"{what} is not UTF-8: {text!r}", "rename it") from None
