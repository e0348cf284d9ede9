"""The work folder of one release: the tables and shards that its steps hand to each other.

It is kept when a run fails, so that a re-run makes the same release, and removed when the release is done.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.root, ignore_errors=True)


@contextmanager
def exclusive(work: WorkDir) -> Iterator[WorkDir]:
    """Lock the work folder of a release for this process. Raises ConflictError if another run holds it.

    The lock goes with the process, however that ends.
    """
    root = work.root
    root.parent.mkdir(parents=True, exist_ok=True)
    with root.with_name(root.name + ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"another run of this release is at work in {root}", "wait for it or stop it, then try again"
            ) from None
        root.mkdir(parents=True, exist_ok=True)
        yield work
