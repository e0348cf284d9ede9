"""Diff: what changed between two releases, and what an update from one to the other fetches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lading.client.access import Access
from lading.client.remote import open_release
from lading.client.transfer import Transfer
from lading.client.trust import TrustStore
from lading.http import session as http_session
from lading.index import view_chunks
from lading.names import parse_reference
from lading.settings import Settings
from lading.tables import Tables


@dataclass(frozen=True, slots=True)
class Change:
    """One entry that differs. `kind` is added, modified, removed or moved; `source` is where a moved file was."""

    kind: str
    path: str
    size: int
    source: str | None


@dataclass(frozen=True, slots=True)
class Totals:
    """Numbers of entries, raw bytes of chunks that only the newer release has, and the stored bytes of their frames:
    what an update fetches."""

    added: int
    modified: int
    removed: int
    moved: int
    unchanged: int
    new_bytes: int
    fetch_bytes: int


class Diff:
    """Two releases compared; used as a context manager, which removes the fetched indexes."""

    def __init__(
        self, old: str, new: str, settings: Settings, note: Callable[[str], None] = lambda message: None
    ) -> None:
        """Fetch and verify both indexes. `note` is told what the user should know. Raises what a pull of them would."""
        self._folder = tempfile.TemporaryDirectory(prefix="lading-diff-")
        self._tables = Tables()
        with http_session() as session:
            for name, reference in (("old", old), ("new", new)):
                access = Access(session, settings, *parse_reference(reference), note=note)
                transfer = Transfer(session, access)
                release = open_release(
                    access, transfer, TrustStore(settings.trust_store, note), Path(self._folder.name)
                )
                self._tables.view(f"{name}_files", release.files)
                view_chunks(self._tables, f"{name}_chunks", release.files, release.chunks)
        self._tables.run(_CHANGES)

    def __enter__(self) -> Diff:
        return self

    def __exit__(self, *_: object) -> None:
        self._tables.connection.close()
        self._folder.cleanup()

    def changes(self) -> Iterator[Change]:
        """Every difference, by path."""
        for row in self._tables.rows("SELECT kind, path, size, source FROM changes ORDER BY path, kind"):
            yield Change(*row)

    def totals(self) -> Totals:
        """The sums."""
        return Totals(*self._tables.row(_TOTALS))


# A file is moved if its content was at a path that is gone now. Each old path is used once: a copy is an addition.
_CHANGES = """
CREATE TABLE changes AS
WITH both_sides AS (
    SELECT coalesce(n.path, o.path) AS path, n.type AS new_type, o.type AS old_type, n.sha256 AS new_sha256,
           o.sha256 AS old_sha256, coalesce(n.size, o.size, 0) AS size,
           n.type IS DISTINCT FROM o.type OR n.sha256 IS DISTINCT FROM o.sha256
               OR n.target IS DISTINCT FROM o.target OR n.mode IS DISTINCT FROM o.mode AS differs
    FROM new_files n FULL JOIN old_files o USING (path)
),
gone AS (
    SELECT path, old_sha256 AS sha256, row_number() OVER (PARTITION BY old_sha256 ORDER BY path) AS n
    FROM both_sides WHERE new_type IS NULL AND old_type = 'file' AND size > 0
),
come AS (
    SELECT path, new_sha256 AS sha256, size, row_number() OVER (PARTITION BY new_sha256 ORDER BY path) AS n
    FROM both_sides WHERE old_type IS NULL AND new_type = 'file' AND size > 0
),
moved AS (SELECT c.path, c.size, g.path AS source FROM come c JOIN gone g USING (sha256, n))
SELECT 'moved' AS kind, path, size, source FROM moved
UNION ALL
SELECT CASE WHEN old_type IS NULL THEN 'added' WHEN new_type IS NULL THEN 'removed' ELSE 'modified' END, path, size,
       NULL
FROM both_sides
WHERE differs AND path NOT IN (SELECT path FROM moved) AND path NOT IN (SELECT source FROM moved)
"""

_TOTALS = """
WITH fresh AS (SELECT * FROM new_chunks ANTI JOIN old_chunks USING (chunk_sha256))
SELECT count(*) FILTER (kind = 'added'), count(*) FILTER (kind = 'modified'), count(*) FILTER (kind = 'removed'),
       count(*) FILTER (kind = 'moved'),
       (SELECT count(*) FROM new_files)
           - count(*) FILTER (kind IN ('added', 'modified', 'moved')),
       (SELECT coalesce(sum(length), 0)::BIGINT FROM (SELECT DISTINCT chunk_sha256, length FROM fresh)),
       (SELECT coalesce(sum(frame_length), 0)::BIGINT FROM
           (SELECT DISTINCT shard, frame_offset, frame_length FROM fresh))
FROM changes
"""
