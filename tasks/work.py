"""The work folder of one release: the tables and shards that its steps hand to each other.

It goes when the release is done, and when a run fails that left nothing to go on from. Else it is kept, so that a
re-run makes the same release and sends only what is missing.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lading.errors import ConflictError


@dataclass(frozen=True, slots=True)
class WorkDir:
    """Paths inside the work folder `root`. It is a plain value: Prefect may send it to another process."""

    root: Path

    @property
    def entries(self) -> Path:
        """What the scan found, with hashes: path, type, target, size, mode, mtime, sha256."""
        return self.root / "entries.parquet"

    @property
    def pieces(self) -> Path:
        """The chunks of every file: path, seq, chunk_offset, length, chunk_sha256, spool_offset, spool_length."""
        return self.root / "pieces.parquet"

    @property
    def frames(self) -> Path:
        """Frames that were made while their files were hashed (tasks.spool)."""
        return self.root / "frames.spool"

    @property
    def members(self) -> Path:
        """The plan: one row for each chunk or empty entry to be packed, in order."""
        return self.root / "members.parquet"

    @property
    def spill(self) -> Path:
        """Where DuckDB spills."""
        return self.root / "spill"

    @property
    def shards(self) -> Path:
        """Where finished shards wait for their upload."""
        return self.root / "shards"

    def upload(self, sha256: str) -> Path:
        """What the store has of a shard whose upload broke off. Survives `prepare`: a re-run makes the same shard."""
        return self.root / "uploads" / f"{sha256}.ndjson"

    def placements(self, shard_no: int | None = None) -> Path:
        """Where the chunks of one shard ended up; without a number, the glob of all of them."""
        return self.root / f"placements-{'*' if shard_no is None else f'{shard_no:06d}'}.parquet"

    def parent(self, name: str) -> Path:
        """An index file of the parent release."""
        return self.root / "parent" / name

    def index(self, name: str) -> Path:
        """An index file of this release."""
        return self.root / "index" / name

    @property
    def _run(self) -> Path:
        return self.root / "run.json"

    def started(self) -> dict[str, Any] | None:
        """What an earlier, unfinished run decided; None if there is none."""
        return json.loads(self._run.read_bytes()) if self._run.exists() else None

    def start(self, decisions: dict[str, Any]) -> None:
        """Note the decisions that a re-run must repeat."""
        partial = self._run.with_suffix(".partial")
        partial.write_text(json.dumps(decisions))
        partial.replace(self._run)

    def prepare(self) -> None:
        """Make the folders, and drop what an unfinished run left but the decisions."""
        for folder in (self.shards, self.root / "parent", self.root / "index"):
            folder.mkdir(parents=True, exist_ok=True)
        for stale in (*self.root.glob("placements-*.parquet"), *self.shards.iterdir()):
            stale.unlink()
        self.frames.unlink(missing_ok=True)

    def resumable(self) -> bool:
        """Whether a re-run goes on from what is here: decisions to repeat, or uploads that broke off."""
        return self._run.exists() or any((self.root / "uploads").glob("*"))

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.root, ignore_errors=True)

    @property
    def lock(self) -> Path:
        """The file that a run locks: beside the folder, which it may remove."""
        return self.root.with_name(self.root.name + ".lock")


@contextmanager
def exclusive(work: WorkDir) -> Iterator[WorkDir]:
    """Make the work folder of a release and lock it for this process. Raises ConflictError if another run holds it.

    The lock goes with the process, however that ends; the folder goes with an error that left nothing to go on from.
    """
    with _locked(work):
        try:
            work.root.mkdir(parents=True, exist_ok=True)
            yield work
        finally:
            if not work.resumable():
                work.remove()
            work.lock.unlink(missing_ok=True)
            # Other versions of the dataset may be at work.
            with suppress(OSError):
                work.root.parent.rmdir()


def refuse_running(work: WorkDir) -> None:
    """Raise ConflictError if a run holds the work folder."""
    if work.lock.exists():
        with exclusive(work):
            pass


def _locked(work: WorkDir) -> BinaryIO:
    """The lock file, open and locked. Raises ConflictError if another run holds it."""
    while True:
        work.lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = work.lock.open("wb")
        except FileNotFoundError:
            # A run that ended removed the folder of the dataset.
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise ConflictError(
                f"another run of this release is at work in {work.root}", "wait for it or stop it, then try again"
            ) from None
        if os.fstat(lock.fileno()).st_nlink:
            return lock
        # A run that ended removed it after it was opened here: it locks nothing any more.
        lock.close()
