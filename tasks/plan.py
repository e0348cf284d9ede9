"""Plan: what is new, and which shard it goes to. Computed by DuckDB over tables, in bounded memory.

Compaction keeps old shards from piling up: what a release would still use of badly used or of many small ones is packed
again, as if it were new.

A base release packs every entry, so that the tars of its shards restore the source tree: a file whose content came
before becomes a link entry to it. A delta release packs what the parent's shards do not hold: new and mostly changed
files whole, single new chunks of a large file under `.lading/chunks/`.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

from lading.index import view_chunks
from lading.shard import CHUNK_MEMBER_PREFIX
from lading.tables import Tables, literal
from tasks.work import WorkDir

SHARD_BYTES = 256 * 1024 * 1024
"""Raw size at which a shard is full."""

LONE_FILE_BYTES = 128 * 1024 * 1024
"""A file of this size or more gets a shard of its own, so that no other shard is above SHARD_BYTES + this."""

MOSTLY_CHANGED = 0.9
"""Share of new bytes from which a large file is stored whole again, as a plain tar member."""


LIVE_SHARE = 0.6
"""Below this share of live bytes in all shards that a release refers to, badly used ones are left behind."""

SMALL_SHARD_BYTES = 16 * 1024 * 1024
SMALL_SHARDS = 64
"""A release that refers to more than SMALL_SHARDS shards below SMALL_SHARD_BYTES each leaves all of them behind."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be packed, and what changed against the parent. Sizes in raw bytes.

    `new_bytes` are those to be packed, `compacted_bytes` of them are known but lie in shards that are left behind.
    """

    kind: str
    shards: int
    files: int
    bytes: int
    chunks: int
    new_chunks: int
    new_bytes: int
    reused_bytes: int
    compacted_bytes: int
    added: int
    modified: int
    removed: int


@dataclass(frozen=True, slots=True)
class ParentIndex:
    """The parent release's index files on disk, and its shards: SHA-256 (hex) to stored size in bytes.

    `ratio` is the stored size of the parent's shards by the raw size of its files.
    """

    files: Path
    chunks: Path
    shards: dict[str, int]
    ratio: float


def plan(work: WorkDir, parent: ParentIndex | None, *, full: bool) -> Plan:
    """Write `work.members` and return the plan.

    `parent` is the release to compare with, None for the first one; `full` packs everything even so.
    """
    with Tables(spill=work.spill) as tables:
        tables.view("entries", work.entries)
        tables.view("pieces", work.pieces)
        _parent_views(tables, parent)
        if parent is not None:
            _leave_behind(tables, parent)
        reuses = tables.row(
            "SELECT count(*) = 0 OR bool_or(chunk_sha256 IN (SELECT chunk_sha256 FROM known)) FROM pieces"
        )[0]
        # What shares nothing with its parent may as well be a base release, which plain tar restores.
        delta = parent is not None and not full and reuses
        tables.run(_DELTA_ITEMS if delta else _BASE_ITEMS)
        tables.run(_MEMBERS)
        tables.save(_PIECES_OF_MEMBERS if delta else _PIECES_OF_FILES, work.members)
        shards = tables.row("SELECT count(DISTINCT shard_no) FROM members")[0]
        files, size, chunks = tables.row(
            "SELECT count(*) FILTER (type = 'file'), coalesce(sum(size), 0)::BIGINT, (SELECT count(*) FROM pieces) "
            "FROM entries"
        )
        new_chunks, new_bytes = tables.row(
            "SELECT count(*), coalesce(sum(length), 0)::BIGINT FROM "
            f"(SELECT DISTINCT chunk_sha256, length FROM read_parquet({literal(work.members)}) WHERE length > 0)"
        )
        compacted = tables.row(
            "SELECT coalesce(sum(length), 0)::BIGINT FROM (SELECT DISTINCT chunk_sha256, length FROM "
            f"read_parquet({literal(work.members)}) WHERE length > 0) SEMI JOIN parent_chunks USING (chunk_sha256)"
        )[0]
        added, modified, removed = tables.row(_CHANGES)
    return Plan(
        kind="delta" if delta else "base",
        shards=shards,
        files=files,
        bytes=size,
        chunks=chunks,
        new_chunks=new_chunks,
        new_bytes=new_bytes,
        reused_bytes=max(0, size - new_bytes),
        compacted_bytes=compacted,
        added=added,
        modified=modified,
        removed=removed,
    )


def _parent_views(tables: Tables, parent: ParentIndex | None) -> None:
    if parent is None:
        tables.run("CREATE TABLE parent_files (path VARCHAR, type VARCHAR, target VARCHAR, sha256 BLOB)")
        tables.run("CREATE TABLE parent_chunks (chunk_sha256 BLOB)")
        tables.run("CREATE TABLE known (chunk_sha256 BLOB)")
        return
    tables.view("parent_files", parent.files)
    view_chunks(tables, "parent_chunks", parent.files, parent.chunks)


def _leave_behind(tables: Tables, parent: ParentIndex) -> None:
    """Table `known`: the parent's chunks that the release may refer to, in shards that are worth it."""
    tables.run(
        "CREATE TABLE parent_shards AS SELECT unhex(unnest(?::VARCHAR[])) AS shard, unnest(?::BIGINT[]) AS size",
        list(parent.shards),
        list(parent.shards.values()),
    )
    tables.run(
        "CREATE TABLE usage AS SELECT shard, any_value(size) AS size, sum(frame_length) AS live FROM "
        "(SELECT DISTINCT shard, frame_offset, frame_length FROM parent_chunks SEMI JOIN pieces USING (chunk_sha256)) "
        "JOIN parent_shards USING (shard) GROUP BY shard"
    )
    new_raw = tables.row(
        "SELECT coalesce(sum(length), 0)::BIGINT FROM (SELECT DISTINCT chunk_sha256, length FROM pieces) "
        "ANTI JOIN parent_chunks USING (chunk_sha256)"
    )[0]
    live, size, small = tables.row(
        "SELECT coalesce(sum(live), 0)::BIGINT, coalesce(sum(size), 0)::BIGINT, "
        f"count(*) FILTER (size < {SMALL_SHARD_BYTES}) FROM usage"
    )
    # New shards are live as a whole; what they will take is estimated from how the parent compressed.
    new_stored = int(new_raw * parent.ratio)
    badly_used = live + new_stored < LIVE_SHARE * (size + new_stored)
    rules = [f"live < {LIVE_SHARE} * size"] if badly_used else []
    rules += [f"size < {SMALL_SHARD_BYTES}"] if small > SMALL_SHARDS else []
    left = " OR ".join(rules) or "false"
    tables.run(
        "CREATE TABLE known AS SELECT DISTINCT chunk_sha256 FROM parent_chunks "
        f"ANTI JOIN (SELECT shard FROM usage WHERE {left}) USING (shard)"
    )


# Every statement below yields `items`: path, kind (tar type), source (file to read), seq and chunk_offset of its first
# chunk (NULL: all chunks), size, mode, mtime, target.

_REGULAR = tarfile.REGTYPE.decode()
_LINK = tarfile.LNKTYPE.decode()
_SYMLINK = tarfile.SYMTYPE.decode()
_DIRECTORY = tarfile.DIRTYPE.decode()

_BASE_ITEMS = f"""
CREATE TABLE items AS
WITH content AS (
    -- A link shares its target's mode, so only files of one mode may be linked.
    SELECT *, first_value(path) OVER (PARTITION BY sha256, mode ORDER BY path) AS first_path
    FROM entries WHERE type = 'file' AND size > 0
)
SELECT path, CASE WHEN path = first_path THEN '{_REGULAR}' ELSE '{_LINK}' END AS kind,
       path AS source, NULL::INTEGER AS only_seq, CASE WHEN path = first_path THEN size ELSE 0 END AS size,
       mode, mtime, CASE WHEN path = first_path THEN '' ELSE first_path END AS target
FROM content
UNION ALL
SELECT path, CASE type WHEN 'symlink' THEN '{_SYMLINK}' WHEN 'dir' THEN '{_DIRECTORY}' ELSE '{_REGULAR}' END,
       NULL, NULL, 0, mode, mtime, coalesce(target, '')
FROM entries WHERE type <> 'file' OR size = 0
"""

_DELTA_ITEMS = f"""
CREATE TABLE items AS
WITH content AS (
    SELECT min(path) AS path, sha256, any_value(size) AS size, arg_min(mode, path) AS mode,
           arg_min(mtime, path) AS mtime
    FROM entries WHERE type = 'file' AND size > 0 GROUP BY sha256
),
new_pieces AS (
    SELECT c.path, c.sha256, p.seq, p.length, p.chunk_sha256
    FROM content c JOIN pieces p USING (path) ANTI JOIN known USING (chunk_sha256)
),
whole AS (
    SELECT c.* FROM content c JOIN (SELECT path, sum(length) AS new_bytes FROM new_pieces GROUP BY path) n USING (path)
    WHERE n.new_bytes >= {MOSTLY_CHANGED} * c.size
),
single AS (
    SELECT chunk_sha256, min((path, seq)) AS place, any_value(length) AS length FROM new_pieces
    WHERE chunk_sha256 NOT IN (SELECT chunk_sha256 FROM pieces SEMI JOIN whole USING (path))
    GROUP BY chunk_sha256
)
SELECT path, '{_REGULAR}' AS kind, path AS source, NULL::INTEGER AS only_seq, size, mode, mtime, '' AS target FROM whole
UNION ALL
SELECT '{CHUNK_MEMBER_PREFIX}' || lower(hex(chunk_sha256)), '{_REGULAR}', place[1], place[2], length, 420, 0, ''
FROM single
"""

# A lone file comes first, so that a link to it comes later. The others fill shards in the order of their paths; what a
# member takes is estimated, for balance only.
_MEMBERS = f"""
CREATE TABLE members AS
WITH placed AS (
    SELECT *, coalesce(source, path) AS sort_path, size >= {LONE_FILE_BYTES} AS lone,
           512 + (size + 511) // 512 * 512 AS raw_size
    FROM items
),
ordered AS (SELECT *, row_number() OVER (ORDER BY sort_path, only_seq, path) AS n FROM placed),
-- ROWS, not the default RANGE: comparing every row with its peers made this a hundred times slower.
summed AS (
    SELECT *, sum(CASE WHEN lone THEN 0 ELSE raw_size END) OVER (ORDER BY n ROWS UNBOUNDED PRECEDING) - raw_size
               AS before,
           sum(lone::INTEGER) OVER (ORDER BY n ROWS UNBOUNDED PRECEDING) AS lone_no
    FROM ordered
),
bucketed AS (
    SELECT *, CASE WHEN lone THEN lone_no - 1
                   ELSE (SELECT count(*) FROM placed WHERE lone) + before // {SHARD_BYTES} END AS bucket
    FROM summed
)
SELECT dense_rank() OVER (ORDER BY bucket) - 1 AS shard_no, row_number() OVER (ORDER BY bucket, n) - 1 AS member_no,
       path, kind, source, only_seq, size, mode, mtime, target
FROM bucketed
"""

_MEMBER_ROWS = """
SELECT m.shard_no::INTEGER AS shard_no, m.member_no::BIGINT AS member_no, m.path, m.kind, m.size, m.mode, m.mtime,
       m.target, m.source, p.chunk_offset, coalesce(p.length, 0) AS length, p.chunk_sha256, p.spool_offset,
       p.spool_length
FROM members m LEFT JOIN pieces p ON {join}
ORDER BY m.member_no, p.seq
"""

_PIECES_OF_FILES = _MEMBER_ROWS.format(join="m.source = p.path AND m.size > 0")
_PIECES_OF_MEMBERS = _MEMBER_ROWS.format(join="m.source = p.path AND (m.only_seq IS NULL OR m.only_seq = p.seq)")

_CHANGES = """
SELECT count(*) FILTER (o.path IS NULL), count(*) FILTER (n.path IS NOT NULL AND o.path IS NOT NULL AND
           (n.type <> o.type OR n.sha256 IS DISTINCT FROM o.sha256 OR n.target IS DISTINCT FROM o.target)),
       count(*) FILTER (n.path IS NULL)
FROM entries n FULL JOIN parent_files o USING (path)
"""
