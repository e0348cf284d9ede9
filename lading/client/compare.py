"""Compare: what a release wants and what a folder holds. Decided by DuckDB over tables.

Tables in: `files` and `chunks` (the wanted release), `installed` and `done` (the state), `present` (what is on disk).
Tables out: `todo` (entries to make), `local_pieces` (chunks that the folder holds already, in files that stay or go),
`remote_pieces` (chunks to fetch), `obsolete` (files that Lading wrote and the release lacks).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lading.names import INDEX_CHUNKS, INDEX_FILES
from lading.paths import OWN_FOLDER
from lading.tables import NdjsonWriter, Tables, literal
from lading.tree import walk

PRESENT_COLUMNS = {
    "path": "VARCHAR",
    "type": "VARCHAR",
    "target": "VARCHAR",
    "size": "BIGINT",
    "mtime_ns": "BIGINT",
    "mode": "INTEGER",
}


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done, in files and raw bytes. `fetch_bytes` is the stored size of the frames to fetch, and
    of the patches that are fetched in place of some."""

    files: int
    bytes: int
    todo_files: int
    todo_bytes: int
    done_bytes: int
    local_bytes: int
    remote_bytes: int
    fetch_bytes: int
    obsolete: int


def list_present(tables: Tables, dest: Path, listing: Path) -> None:
    """Table `present`: every file, link and empty folder below `dest` but Lading's own."""
    with NdjsonWriter(listing) as rows:
        for path, entry in walk(dest, skip=frozenset({OWN_FOLDER})):
            if not _is_utf8(path):
                # No release has such a name, and no table can hold it.
                continue
            if entry is None:
                rows.write({"path": path, "type": "dir"})
            elif entry.is_symlink():
                target = str(Path(entry.path).readlink())
                rows.write({"path": path, "type": "symlink", "target": target if _is_utf8(target) else None})
            elif entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                rows.write(
                    {
                        "path": path,
                        "type": "file",
                        "size": status.st_size,
                        "mtime_ns": status.st_mtime_ns,
                        "mode": status.st_mode & 0o777,
                    }
                )
    tables.load("listing", listing, PRESENT_COLUMNS)
    tables.run("CREATE OR REPLACE TABLE present AS SELECT * FROM listing WHERE path IS NOT NULL")
    listing.unlink()


def _is_utf8(name: str) -> bool:
    return name.isascii() or not any("\udc80" <= character <= "\udcff" for character in name)


def trusted_files(tables: Tables) -> None:
    """Table `trusted`: files that are as Lading left them, judged by size and mtime."""
    tables.run(
        "CREATE OR REPLACE TABLE trusted AS SELECT i.path, i.size, i.sha256 FROM installed i "
        "JOIN present p USING (path, size, mtime_ns) WHERE p.type = 'file'"
    )


def unknown_files(tables: Tables) -> Iterable[tuple[str, bytes, int]]:
    """Files on disk that have the wanted size but no trusted record: (path, wanted SHA-256, size). They are hashed, so
    that a tree which something else made, or whose mtimes were lost, is not fetched again."""
    tables.run("CREATE OR REPLACE TABLE untrusted AS SELECT path, size FROM present ANTI JOIN trusted USING (path)")
    return tables.rows(
        "SELECT path, f.sha256, size FROM files f JOIN untrusted USING (path, size) WHERE f.type = 'file' ORDER BY path"
    )


def compare(tables: Tables, old_indexes: list[Path], *, partial: bool = False) -> Work:
    """Fill the tables out. `old_indexes` are folders with the indexes of releases that may have been here before.

    With `partial`, `files` is a part of the release: nothing is obsolete for not being in it."""
    # One join at a time, of narrow rows: several at once do not fit into little memory, and joins cannot always spill.
    tables.run("""
        CREATE OR REPLACE TABLE there AS
        SELECT f.file_id FROM files f SEMI JOIN trusted t USING (path, sha256) WHERE f.type = 'file'
        UNION ALL
        SELECT f.file_id FROM files f JOIN present p USING (path, type)
        WHERE f.type <> 'file' AND p.target IS NOT DISTINCT FROM f.target
    """)
    tables.run("""
        CREATE OR REPLACE TABLE todo AS
        SELECT file_id, path, type, target, size, sha256, mode, mtime,
               sha256(path)[:24] || '-' || lower(hex(sha256))[:24] AS partial
        FROM files ANTI JOIN there USING (file_id)
    """)
    # The rows of chunks.parquet, with the place of each chunk in its file. Most files are one chunk, which lies at
    # 0: the running sum, which has to hold its rows in memory, is for the others.
    tables.run(f"""
        CREATE OR REPLACE TABLE needed AS
        SELECT t.path, t.partial, c.seq, coalesce(o.file_offset, 0) AS file_offset, c.length,
               coalesce(c.chunk_sha256, t.sha256) AS chunk_sha256, c.shard, c.frame_offset,
               c.frame_length, c.inner_offset, d.seq IS NOT NULL AS done
        FROM chunks c JOIN todo t USING (file_id)
        LEFT JOIN ({_offsets("SELECT file_id, seq, length FROM chunks SEMI JOIN todo USING (file_id)")}) o
            USING (file_id, seq)
        LEFT JOIN done d ON d.partial = t.partial AND d.seq = c.seq
    """)
    _sources(tables, old_indexes)
    tables.run("""
        CREATE OR REPLACE TABLE local_pieces AS
        SELECT n.path, n.partial, n.seq, n.file_offset::BIGINT AS file_offset, n.length, n.chunk_sha256,
               s.path AS source, s.file_offset::BIGINT AS source_offset
        FROM needed n JOIN sources s USING (chunk_sha256) WHERE NOT n.done
    """)
    tables.run("""
        CREATE OR REPLACE TABLE remote_pieces AS
        SELECT n.path, n.partial, n.seq, n.file_offset::BIGINT AS file_offset, n.length, n.chunk_sha256,
               lower(hex(n.shard)) AS shard, n.frame_offset, n.frame_length, n.inner_offset
        FROM needed n ANTI JOIN sources USING (chunk_sha256) WHERE NOT n.done
    """)
    gone = "false" if partial else "true"
    tables.run(
        f"CREATE OR REPLACE TABLE obsolete AS SELECT path FROM installed ANTI JOIN files USING (path) WHERE {gone}"
    )
    _obsolete_entries(tables, [] if partial else old_indexes)
    # Right content under another mode or time: they are set, and no byte is fetched.
    tables.run("""
        CREATE OR REPLACE TABLE restamp AS
        SELECT f.path, f.size, f.sha256, f.mode, f.mtime FROM files f JOIN trusted t USING (path, sha256)
        JOIN present p USING (path)
        WHERE f.type = 'file' AND (p.mtime_ns <> f.mtime * 1000000000 OR p.mode <> f.mode)
    """)
    # One query for each table: one with as many subqueries takes DuckDB longer to plan than all of these to run.
    files, size = tables.row("SELECT count(*) FILTER (type = 'file'), coalesce(sum(size), 0)::BIGINT FROM files")
    todo_files, todo_size = tables.row(
        "SELECT count(*) FILTER (type = 'file'), coalesce(sum(size), 0)::BIGINT FROM todo"
    )
    return Work(
        files=files,
        bytes=size,
        todo_files=todo_files,
        todo_bytes=todo_size,
        done_bytes=raw_bytes(tables, "needed WHERE done"),
        local_bytes=raw_bytes(tables, "local_pieces"),
        remote_bytes=raw_bytes(tables, "remote_pieces"),
        fetch_bytes=frame_bytes(tables, "remote_pieces"),
        obsolete=tables.row("SELECT count(*) FROM obsolete")[0],
    )


def raw_bytes(tables: Tables, pieces: str) -> int:
    """The sum of the lengths of chunks in a table."""
    return int(tables.row(f"SELECT coalesce(sum(length), 0)::BIGINT FROM {pieces}")[0])


def frame_bytes(tables: Tables, pieces: str) -> int:
    """The stored size of the frames that hold the chunks in a table, each counted once."""
    return int(
        tables.row(
            "SELECT coalesce(sum(frame_length), 0)::BIGINT FROM "
            f"(SELECT DISTINCT shard, frame_offset, frame_length FROM {pieces})"
        )[0]
    )


def _obsolete_entries(tables: Tables, old_indexes: list[Path]) -> None:
    """Table `obsolete_entries`: links and empty folders of an earlier release that are still as it had them, and that
    the wanted one lacks."""
    old = " UNION ".join(
        f"SELECT path, type, target FROM read_parquet({literal(folder / 'files.parquet')}) WHERE type <> 'file'"
        for folder in old_indexes
    )
    tables.run(
        "CREATE OR REPLACE TABLE obsolete_entries AS SELECT o.path, o.type FROM "
        f"({old or 'SELECT NULL AS path, NULL AS type, NULL AS target WHERE false'}) o "
        "JOIN present p ON p.path = o.path AND p.type = o.type AND p.target IS NOT DISTINCT FROM o.target "
        "ANTI JOIN files f ON f.path = o.path AND f.type = o.type"
    )


def _offsets(chunks: str) -> str:
    """A query for (file_id, seq, file_offset) of the files that are more than one chunk."""
    return (
        f"WITH pieces AS ({chunks}), several AS (SELECT DISTINCT file_id FROM pieces WHERE seq > 0) "
        "SELECT file_id, seq, sum(length) OVER (PARTITION BY file_id ORDER BY seq ROWS UNBOUNDED PRECEDING) - length "
        "AS file_offset FROM pieces SEMI JOIN several USING (file_id)"
    )


def _sources(tables: Tables, old_indexes: list[Path]) -> None:
    """Table `sources`: one place on disk for each chunk that trusted files hold."""
    queries = []
    for folder in old_indexes:
        chunks, files = (f"read_parquet({literal(folder / name)})" for name in (INDEX_CHUNKS, INDEX_FILES))
        offsets = _offsets(f"SELECT file_id, seq, length FROM {chunks}")
        queries.append(
            f"SELECT chunk_sha256, path, file_offset FROM ({offsets}) JOIN {chunks} USING (file_id, seq) "
            f"JOIN {files} USING (file_id) SEMI JOIN trusted USING (path, sha256)"
        )
    # A file that is one chunk is its own source, whichever release it came with.
    queries.append("SELECT sha256 AS chunk_sha256, path, 0 AS file_offset FROM trusted")
    tables.run(
        "CREATE OR REPLACE TABLE sources AS SELECT chunk_sha256, arg_min(path, path) AS path, "
        f"arg_min(file_offset, path) AS file_offset FROM ({' UNION ALL '.join(queries)}) GROUP BY chunk_sha256"
    )
