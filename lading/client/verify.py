"""Verify: whether a pulled folder still holds what was pulled, without the network."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lading.client.hashing import sha256_until
from lading.client.progress import Progress, Silent
from lading.client.smalltables import SmallTables
from lading.client.state import State
from lading.errors import NotFoundError
from lading.names import INDEX_FILES
from lading.parallel import cores, ordered_map
from lading.paths import OWN_FOLDER


@dataclass(frozen=True, slots=True)
class Finding:
    """A file that is not as it was pulled: `problem` is missing, changed or unreadable."""

    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What was looked at: the release that was pulled last, whether all of it was, files and bytes (as a pull counts
    them: without links and empty folders), and what is wrong.

    `finished` is false when a pull was interrupted since: then files may be there that belong to another release.
    """

    dataset: str | None
    version: str | None
    complete: bool
    finished: bool
    files: int
    bytes: int
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """The result as plain values."""
        return asdict(self)


def verify(dest: Path, progress: Progress | None = None) -> VerifyResult:
    """Read every file that Lading wrote to `dest` and compare it with its recorded SHA-256.

    After a complete pull, links and empty folders of the release are looked at as well. Files that Lading did not write
    do not matter. Raises NotFoundError if nothing was pulled there, ConflictError while a pull is at work.
    """
    progress = progress or Silent()
    if not (dest / OWN_FOLDER).is_dir():
        raise NotFoundError(f"nothing was pulled to {dest}", "check the path")
    state = State(dest.absolute())
    state.open()
    stop = threading.Event()
    files = total = 0
    findings = []
    try:
        finished = state.finished
        with SmallTables(state.root / "spill") as tables, ThreadPoolExecutor(cores()) as pool:
            try:
                release = state.release() or {}
                wanted = _wanted(tables, state, release if finished else {})
                for entry, problem in ordered_map(pool, lambda entry: _look(dest, entry, stop), wanted, 4 * cores()):
                    files += entry[1] == "file"
                    total += entry[2] or 0
                    progress.made(entry[2] or 0)
                    if problem:
                        # The next pull must not trust it for its size and mtime.
                        if entry[3] is not None:
                            state.note_suspect(entry[0], entry[2] or 0, entry[3])
                        findings.append(Finding(entry[0], problem))
            except BaseException:
                stop.set()
                raise
    finally:
        state.close()
    return VerifyResult(
        release.get("dataset"),
        release.get("version"),
        bool(release.get("complete", False)),
        finished,
        files,
        total,
        tuple(findings),
    )


_Entry = tuple[str, str, int | None, bytes | None, str | None]


def _wanted(tables: SmallTables, state: State, release: dict[str, Any]) -> Iterator[_Entry]:
    """(path, type, size, sha256, target) of what should be there."""
    state.load(tables)
    index = state.indexes / str(release.get("manifest_sha256")) / INDEX_FILES
    rest = ""
    if release.get("complete") and index.exists():
        tables.view("files", index)
        rest = (
            " UNION ALL SELECT path, type, NULL, NULL, target FROM files WHERE type <> 'file'"
            " UNION ALL SELECT path, type, size, sha256, NULL FROM files ANTI JOIN installed USING (path) "
            "WHERE type = 'file'"
        )
    yield from tables.rows(f"SELECT path, 'file', size, sha256, NULL FROM installed{rest} ORDER BY 1")


def _look(dest: Path, entry: _Entry, stop: threading.Event) -> tuple[_Entry, str | None]:
    path, kind, size, digest, target = entry
    place = dest / path
    try:
        if kind == "symlink":
            place.lstat()
            return entry, None if place.is_symlink() and str(place.readlink()) == target else "changed"
        if kind == "dir":
            return entry, None if place.is_dir() else "missing"
        if place.is_symlink() or not place.is_file():
            return entry, "changed" if place.is_symlink() or place.exists() else "missing"
        if place.stat().st_size != size or sha256_until(place, stop) != digest:
            return entry, "changed"
    except FileNotFoundError:
        return entry, "missing"
    except OSError as error:
        return entry, f"unreadable ({error.strerror})"
    return entry, None
