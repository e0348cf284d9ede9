"""Pull: bring a folder to the state of a release.

A pull may be killed at any moment. The next one finds complete files by their record, chunks of half-made files by the
journal, and fetches the rest. Chunks that the folder holds already, in files of an earlier release, are copied from
there. Every chunk's hash is checked before its bytes count, and a large file's own hash before it takes its place.
"""

from __future__ import annotations

import errno
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests

from lading.client.access import Access
from lading.client.assembly import Assemblies
from lading.client.compare import Work, compare, list_present, trusted_files, unknown_files
from lading.client.destination import Destination
from lading.client.fetch import Fetcher
from lading.client.local import adopt, copy_chunks
from lading.client.pace import RateLimit
from lading.client.patching import apply_patches, plan_patches
from lading.client.plan import frames, ranges
from lading.client.progress import Counter, Progress, Silent
from lading.client.remote import RemoteRelease, fetch_patches, open_release
from lading.client.select import EVERYTHING, Selection, select
from lading.client.smalltables import SmallTables
from lading.client.state import State
from lading.client.transfer import StoredObject, Transfer
from lading.client.trust import TrustStore
from lading.errors import ConflictError, IntegrityError, LadingError, UsageError
from lading.http import session as http_session
from lading.names import INDEX_CHUNKS, INDEX_FILES, parse_reference
from lading.paths import check_path, link_is_safe
from lading.settings import Settings
from lading.tables import Tables

JOBS = 8
"""Parallel requests by default: the gateway takes sixteen of one client as normal."""

FREE_BYTES = 16 * 1024 * 1024
"""What stays free on the disk for the journal and the tables."""


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
    selection: Selection = EVERYTHING,
    jobs: int = JOBS,
    rate_limit: int | None = None,
    progress: Progress | None = None,
) -> PullResult:
    """Bring `dest` to the state of `DATASET[@VERSION]`. Returns when every byte is verified.

    At most `jobs` requests run at once, and at most `rate_limit` bytes per second come over the wire.
    With a `selection`, only those files are brought to that state; the others stay as they are, and nothing is removed.
    Raises a LadingError that says what to do; what was fetched is kept for the next pull in any case.
    """
    if jobs < 1:
        raise UsageError(f"--jobs is {jobs}", "give 1 or more")
    dataset, version = parse_reference(reference)
    settings = settings or Settings.from_env()
    progress = progress or Silent()
    started = time.monotonic()
    stop = threading.Event()
    fetched = Counter(progress.fetched)
    state = State(dest.absolute())
    session = http_session(jobs + 1)
    try:
        # Access comes first: a wrong key or name must not leave a folder behind.
        access = Access(session, settings, dataset, version)
        limit = RateLimit(rate_limit) if rate_limit else None
        transfer = Transfer(session, access, fetched.add, stop, jobs=jobs, rate_limit=limit)
        state.open()
        try:
            trust = TrustStore(settings.trust_store, progress.note)
            _check_dataset(state, dataset)
            release = open_release(access, transfer, trust, state.indexes)
            state.begin()
            puller = _Puller(state, release, selection, transfer, jobs, progress, stop, session.abort)
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


def _check_dataset(state: State, dataset: str) -> None:
    """Refuse a folder that holds another dataset: the pull would remove its files."""
    here = (state.release() or {}).get("dataset", dataset)
    if here != dataset:
        raise ConflictError(f"{state.dest} holds dataset {here!r}", "give another folder")


class _Puller:
    """One pull, once the release is known."""

    def __init__(
        self,
        state: State,
        release: RemoteRelease,
        selection: Selection,
        transfer: Transfer,
        jobs: int,
        progress: Progress,
        stop: threading.Event,
        abort: Callable[[], None],
    ) -> None:
        self._state = state
        self._abort = abort
        self._release = release
        self._selection = selection
        self._partial = not selection.everything
        self._transfer = transfer
        self._jobs = jobs
        self._progress = progress
        self._stop = stop
        self._patched = False

    def run(self) -> tuple[Work, int]:
        """Do it; returns the work as planned at first, and how many files were removed."""
        first: Work | None = None
        removed = 0
        for _ in range(2):
            with SmallTables(self._state.root / "spill") as tables:
                work = self._plan(tables)
                first = first or work
                gone, damaged = self._apply(tables)
                removed += gone
                if not damaged:
                    self._state.finish(tables, self._record(), partial=self._partial)
                    return first, removed
        raise IntegrityError("a file is wrong although all its chunks are right", "tell the publisher of the release")

    def _record(self) -> dict[str, Any]:
        manifest = self._release.manifest
        return {
            "dataset": manifest.dataset,
            "version": manifest.version,
            "manifest_sha256": self._release.manifest_sha256,
            "complete": not self._partial,
        }

    def _plan(self, tables: Tables) -> Work:
        """Compare what is wanted with what is there."""
        select(tables, self._release.files, self._selection, self._state.root)
        tables.view("chunks", self._release.chunks)
        self._state.load(tables)
        list_present(tables, self._state.dest, self._state.root / "present.ndjson")
        trusted_files(tables)
        unknown = unknown_files(tables)
        if unknown:
            adopt(self._state, unknown, self._jobs, self._stop)
            self._state.load(tables)
            trusted_files(tables)
        old = [f for f in self._state.indexes.iterdir() if all((f / n).exists() for n in (INDEX_FILES, INDEX_CHUNKS))]
        work = compare(tables, old, partial=self._partial)
        held = (self._state.release() or {}).get("version")
        patches = fetch_patches(self._transfer, self._release, held) if work.todo_files else None
        self._patched = patches is not None
        plan_patches(tables, patches)
        _check(tables, work, self._release, self._state.dest)
        self._progress.planned(work)
        return work

    def _apply(self, tables: Tables) -> tuple[int, bool]:
        """Copy, patch, remove, fetch, in this order: a file that is a source must not be replaced before it was read.

        Returns how many files were removed, and whether a file has to be made anew."""
        destination = Destination(self._state)
        assemblies = Assemblies(self._state, destination, self._stop)
        assemblies.expect(tables, partial=self._partial)
        copy_chunks(tables, self._state, assemblies, self._progress)
        patches = self._release.manifest.patches
        if patches and self._patched:
            pack = StoredObject(patches.pack.key, patches.pack.size, patches.pack.sha256)
            apply_patches(tables, pack, self._state.dest, self._transfer, assemblies, self._progress, self._stop)
        removed = self._remove(tables, destination)
        assemblies.finish_complete()
        destination.make_entries(tables)
        destination.restamp(tables)
        fetcher = Fetcher(
            self._transfer,
            self._release.shards,
            destination,
            assemblies,
            self._progress,
            self._stop,
            self._jobs,
            self._abort,
        )
        fetcher.run(ranges(frames(tables)))
        return removed, assemblies.damaged

    def _remove(self, tables: Tables, destination: Destination) -> int:
        """Remove files that Lading wrote and the release lacks; one that was changed since is kept."""
        removed = 0
        for path, ours in tables.rows(
            "SELECT o.path, t.path IS NOT NULL FROM obsolete o LEFT JOIN trusted t USING (path) "
            "SEMI JOIN present p ON p.path = o.path ORDER BY o.path DESC"
        ):
            if ours:
                destination.remove(path)
                removed += 1
            else:
                self._progress.note(f"keeping {path}: it is not in this release, but was changed here")
                self._state.note_gone(path)
        for path, kind in tables.rows("SELECT path, type FROM obsolete_entries ORDER BY path DESC"):
            destination.remove_entry(path, kind)
        return removed


def _check(tables: Tables, work: Work, release: RemoteRelease, dest: Path) -> None:
    """Refuse unsafe paths, unknown shards and a disk that is too small, before anything is changed."""
    for path, kind, target in tables.rows("SELECT path, type, target FROM todo"):
        check_path(path)
        if kind == "symlink" and not link_is_safe(path, target or ""):
            raise IntegrityError(
                f"the index holds an unsafe link {path!r}", "do not use this release; tell its publisher"
            )
    shards = release.shards
    for (shard,) in tables.rows("SELECT DISTINCT shard FROM remote_pieces"):
        if shard not in shards:
            raise IntegrityError("the index names a shard that the manifest lacks", "tell the publisher")
    free = shutil.disk_usage(dest).free
    missing = work.todo_bytes - work.done_bytes
    if missing + FREE_BYTES > free:
        raise LadingError(
            f"{dest} has {_size(free)} free and needs {_size(missing + FREE_BYTES)}",
            "free some space or give another folder, then pull again",
        )


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
