"""Index: the two Parquet files of a release and their lookup, from what was scanned, packed and known before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lading.duck import duckdb
from lading.errors import LadingError, SourceError, UsageError
from lading.index import CHUNK_COLUMNS, FILE_COLUMNS, IndexFile, describe, view_chunks
from lading.lookup import write_lookup
from lading.names import INDEX_CHUNKS, INDEX_FILES, INDEX_LOOKUP
from lading.tables import Tables, identifier, literal
from tasks.plan import ParentIndex
from tasks.work import WorkDir


@dataclass(frozen=True, slots=True)
class ReleaseIndex:
    """The index on disk, and the SHA-256 (hex) of every shard that it refers to."""

    files: IndexFile
    chunks: IndexFile
    lookup: IndexFile | None
    shards: tuple[str, ...]


def build_index(work: WorkDir, parent: ParentIndex | None, labels: Path | None, *, lookup: bool = True) -> ReleaseIndex:
    """Write both index files and, with `lookup`, what the gateway serves single files by. `parent` is None where its
    shards are not to be used.

    `labels` is a CSV, JSONL or Parquet file with a `path` column: its other columns join files.parquet. Raises
    SourceError for labels that do not fit, LadingError if a chunk has no place (a bug, never a broken release).
    """
    with Tables(spill=work.spill) as tables:
        tables.view("pieces", work.pieces)
        tables.run(
            "CREATE VIEW entries AS SELECT (row_number() OVER (ORDER BY path) - 1)::BIGINT AS file_id, path, type, "
            f"target, size, sha256, mode, mtime FROM read_parquet({literal(work.entries)})"
        )
        _places(tables, work, parent)
        extra = _label_columns(tables, labels)
        files, chunks = work.index(INDEX_FILES), work.index(INDEX_CHUNKS)
        columns = ", ".join(f"e.{name}" for name in FILE_COLUMNS)
        joined = "".join(f", l.{identifier(name)}" for name in extra)
        join = "LEFT JOIN labels l USING (path)" if labels else ""
        file_rows = tables.save(f"SELECT {columns}{joined} FROM entries e {join} ORDER BY e.file_id", files)
        chunk_rows = tables.save(
            f"SELECT {', '.join(CHUNK_COLUMNS)} FROM (SELECT * REPLACE (CASE WHEN length < size THEN chunk_sha256 END "
            "AS chunk_sha256) FROM pieces JOIN entries USING (path) JOIN places USING (chunk_sha256)) "
            "ORDER BY file_id, seq",
            chunks,
        )
        if chunk_rows != tables.row("SELECT count(*) FROM pieces")[0]:
            raise LadingError("some chunks have no place in any shard", "report this as a bug; nothing was released")
        tables.view("chunks", chunks)
        looked_up = None
        if lookup:
            tables.view("files", files)
            place = work.index(INDEX_LOOKUP)
            looked_up = describe(place, write_lookup(tables, place))
        shards = tuple(row[0] for row in tables.rows("SELECT DISTINCT lower(hex(shard)) FROM chunks ORDER BY 1"))
    return ReleaseIndex(describe(files, file_rows), describe(chunks, chunk_rows), looked_up, shards)


def check_labels_file(labels: Path) -> None:
    """Refuse a labels file that fits no source. Raises SourceError, UsageError."""
    with Tables() as tables:
        _read_labels(tables, labels)


def check_labels(work: WorkDir, labels: Path) -> None:
    """Refuse labels that do not fit what was scanned, before anything is stored. Raises SourceError, UsageError."""
    with Tables(spill=work.spill) as tables:
        tables.view("entries", work.entries)
        _label_columns(tables, labels)


def _places(tables: Tables, work: WorkDir, parent: ParentIndex | None) -> None:
    """One place for each chunk: a new one before the parent's, then the first in a stable order."""
    columns = "chunk_sha256, shard, frame_offset, frame_length, inner_offset"
    sources = []
    if list(work.root.glob(work.placements().name)):
        sources.append(f"SELECT 0 AS age, {columns} FROM read_parquet({literal(work.placements())})")
    if parent is not None:
        view_chunks(tables, "parent_chunks", parent.files, parent.chunks)
        sources.append(f"SELECT 1 AS age, {columns} FROM parent_chunks")
    if not sources:
        sources.append(
            "SELECT 0 AS age, ''::BLOB AS chunk_sha256, ''::BLOB AS shard, 0::BIGINT AS frame_offset, "
            "0::BIGINT AS frame_length, 0::BIGINT AS inner_offset WHERE false"
        )
    tables.run(
        f"CREATE TABLE places AS SELECT chunk_sha256, unnest(place) FROM (SELECT chunk_sha256, "
        "arg_min({'shard': shard, 'frame_offset': frame_offset, 'frame_length': frame_length, "
        "'inner_offset': inner_offset}, (age, shard, frame_offset)) AS place "
        f"FROM ({' UNION ALL '.join(sources)}) GROUP BY chunk_sha256)"
    )


def _label_columns(tables: Tables, labels: Path | None) -> list[str]:
    """Name the labels as table `labels` and return its columns but `path`."""
    if labels is None:
        return []
    names = _read_labels(tables, labels)
    _refuse_rows(
        tables,
        labels,
        "names a path that is not in the source",
        "SELECT path FROM labels ANTI JOIN entries USING (path)",
    )
    return [name for name in names if name != "path"]


def _read_labels(tables: Tables, labels: Path) -> list[str]:
    """Name the labels as table `labels` and return its columns."""
    if not labels.is_file():
        raise UsageError(f"there is no labels file {labels}", "check the path")
    try:
        names = _load_labels(tables, labels)
    except duckdb.Error as error:
        raise SourceError(f"{labels} cannot be read: {str(error).splitlines()[0]}", "mend the labels file") from error
    # DuckDB and other readers compare the column names of Parquet files without case.
    taken = sorted(name for name in names if name.lower() in FILE_COLUMNS and name != "path")
    if taken:
        raise SourceError(f"{labels} has columns of the index itself: {', '.join(taken)}", "rename them")
    _refuse_rows(tables, labels, "names a path twice", "SELECT path FROM labels GROUP BY path HAVING count(*) > 1")
    return names


def _load_labels(tables: Tables, labels: Path) -> list[str]:
    """Name the labels as table `labels` and return its columns. Raises SourceError if `path` is not among them."""
    described = f"SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM {_reader(labels)})"
    columns: dict[str, str] = dict(tables.connection.execute(described).fetchall())
    if "path" not in columns:
        raise SourceError(f"{labels} has no column 'path'", f"it has {', '.join(columns)}: rename one")
    # A path that looks like a number or a date is text even so.
    tables.run(f"CREATE TABLE labels AS SELECT * FROM {_reader(labels, {**columns, 'path': 'VARCHAR'})}")
    return list(columns)


def _refuse_rows(tables: Tables, labels: Path, what: str, query: str) -> None:
    found: list[Any] = [row[0] for row in tables.rows(f"{query} ORDER BY path LIMIT 3")]
    if found:
        raise SourceError(f"{labels} {what}: {', '.join(map(repr, found))}", "mend the labels file")


def _reader(labels: Path, columns: Mapping[str, str] | None = None) -> str:
    """The table function that reads the labels, with the types of `columns` or those that DuckDB finds."""
    typed = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in (columns or {}).items())
    match labels.suffix.lower():
        case ".csv":
            return f"read_csv({literal(labels)}, header = true{f', types = {{{typed}}}' if typed else ''})"
        case ".jsonl" | ".ndjson":
            return f"read_ndjson({literal(labels)}{f', columns = {{{typed}}}' if typed else ''})"
        case ".parquet":
            return f"read_parquet({literal(labels)})"
    raise UsageError(f"labels in {labels.name!r} are of an unknown kind", "give a .csv, .jsonl or .parquet file")
