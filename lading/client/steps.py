"""The steps of a pull: compare, copy, patch, remove, fetch, each of which may be cut off.

A pull may be killed at any moment. The next one finds complete files by their record, chunks of half-made files by the
journal, and fetches the rest. Chunks that the folder holds already, in files of an earlier release, are copied from
there. Every chunk's hash is checked before its bytes count, and the hash of a file that an earlier pull began before it
takes its place.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lading.client.assembly import Assemblies
from lading.client.compare import Work, compare, list_present, trusted_files, unknown_files
from lading.client.destination import Destination
from lading.client.fetch import Fetcher
from lading.client.filesystem import FileSystem
from lading.client.foreign import changed_here, check_foreign, held_links, named
from lading.client.local import adopt, copy_chunks
from lading.client.opening import Opened
from lading.client.patching import apply_patches, plan_patches
from lading.client.plan import frames, range_bytes, ranges
from lading.client.progress import Progress
from lading.client.remote import RemoteRelease, fetch_patches, open_release
from lading.client.select import select
from lading.client.selection import Selection
from lading.client.smalltables import SmallTables
from lading.client.state import State
from lading.client.transfer import StoredObject
from lading.client.trust import TrustStore
from lading.errors import ConflictError, IntegrityError, LadingError
from lading.names import INDEX_CHUNKS, INDEX_FILES
from lading.parallel import Ahead
from lading.paths import check_path, link_is_safe
from lading.tables import Tables

SPILL = "spill"
"""Folder for what does not fit into DuckDB's memory."""

FREE_BYTES = 16 * 1024 * 1024
"""What stays free on the disk for the journal and the tables."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a pull is to be done: as `lading.client.pull.pull` takes it."""

    selection: Selection
    jobs: int
    overwrite: bool
    trust_store: Path


def bring(
    dest: Path,
    opened: Opened,
    options: Options,
    progress: Progress,
    stop: threading.Event,
    abort: Callable[[], None],
) -> tuple[Work, RemoteRelease, int]:
    """Bring `dest` to the state of an opened release; returns the work as planned at first, the release, and how many
    files were removed. `abort` ends the connections of threads that wait for bytes."""
    state = State(dest)
    state.open()
    try:
        _check_dataset(state, opened.access.grant.dataset)
        trust = TrustStore(options.trust_store, progress.note)
        opening = Ahead(lambda: open_release(opened.access, opened.transfer, trust, state.indexes, opened.signed))
        # DuckDB starts while the index comes, and is ready when the plan asks for it.
        with SmallTables(state.root / SPILL):
            pass
        release = opening.result()
        work, removed = _Puller(state, release, opened, options, progress, stop, abort).run()
        return work, release, removed
    finally:
        state.close()


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
        opened: Opened,
        options: Options,
        progress: Progress,
        stop: threading.Event,
        abort: Callable[[], None],
    ) -> None:
        self._state = state
        self._abort = abort
        self._release = release
        self._selection = options.selection
        self._partial = not options.selection.everything
        self._overwrite = options.overwrite
        self._transfer = opened.transfer
        self._jobs = options.jobs
        self._progress = progress
        self._stop = stop
        self._patched = False
        self._in_the_way: list[str] = []

    def run(self) -> tuple[Work, int]:
        """Do it; returns the work as planned at first, and how many files were removed."""
        first: Work | None = None
        removed = 0
        for _ in range(2):
            with SmallTables(self._state.root / SPILL) as tables:
                work = self._plan(tables)
                if first is None:
                    first = work
                    self._state.begin()
                gone, damaged = self._apply(tables, work)
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
        if adopt(self._state, unknown_files(tables), self._jobs, self._stop):
            self._state.load(tables)
            trusted_files(tables)
        old = [f for f in self._state.indexes.iterdir() if all((f / n).exists() for n in (INDEX_FILES, INDEX_CHUNKS))]
        work = compare(tables, old, partial=self._partial)
        held = self._state.release() or {}
        patches = fetch_patches(self._transfer, self._release, held.get("version")) if work.todo_files else None
        self._patched = patches is not None
        work = plan_patches(tables, patches, work)
        _check(tables, work, self._release, self._state)
        complete = [f for f in old if held.get("complete") and f.name == held.get("manifest_sha256")]
        held_links(tables, complete[0] if complete else None)
        self._in_the_way = check_foreign(tables, old, self._state.dest, self._stop, overwrite=self._overwrite)
        changed = changed_here(tables)
        if changed:
            self._progress.note(f"replacing what was changed here since it was pulled: {named(changed)}")
        self._progress.planned(work)
        return work

    def _apply(self, tables: Tables, work: Work) -> tuple[int, bool]:
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
        fetcher.run(ranges(frames(tables), range_bytes(work.fetch_bytes, self._jobs)))
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
        for path in self._in_the_way:
            destination.remove(path)
        return removed


def _check(tables: Tables, work: Work, release: RemoteRelease, state: State) -> None:
    """Refuse unsafe paths, names that the file system cannot hold, unknown shards and a disk that is too small, before
    anything is changed."""
    dest = state.dest
    system = FileSystem.of(state.root)
    for path, kind, target in tables.rows("SELECT path, type, target FROM todo"):
        check_path(path)
        system.check_path(dest, path)
        if kind == "symlink":
            if not link_is_safe(path, target or ""):
                raise IntegrityError(
                    f"the index holds an unsafe link {path!r}", "do not use this release; tell its publisher"
                )
            system.check_link(path, target)
    system.check_cases(tables, dest)
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
