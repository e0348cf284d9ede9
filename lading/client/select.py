"""Select: the part of a release that a pull wants.

A selection never reaches the network: it is decided over the release's files.parquet. `where` is SQL of the user's, so
it runs in a DuckDB of its own that sees this one file, may not change anything, and may not open anything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lading.client.selection import Selection
from lading.duck import duckdb
from lading.errors import NotFoundError, UsageError
from lading.parallel import Ahead
from lading.tables import NdjsonWriter, Tables, literal

WHERE_MEMORY = "128MB"


def select(tables: Tables, release_files: Path, selection: Selection, scratch: Path) -> None:
    """Name `files`: the rows of a release's files.parquet that are selected. `scratch` is a folder for small tables.

    Raises UsageError for an expression that cannot be evaluated, NotFoundError for paths that are not there and for a
    selection that holds nothing.
    """
    if selection.everything:
        tables.view("files", release_files)
        return
    tables.view("all_files", release_files)
    conditions = []
    if selection.include:
        conditions.append("(" + " OR ".join(map(_matches, selection.include)) + ")")
    conditions += [f"NOT {_matches(pattern)}" for pattern in selection.exclude]
    if selection.paths is not None:
        _load_paths(tables, selection.paths, scratch / "paths.ndjson")
        conditions.append("path IN (SELECT path FROM listed)")
    if selection.where is not None:
        _load_ids(tables, where_ids(release_files, selection.where), scratch / "where.ndjson")
        conditions.append("file_id IN (SELECT file_id FROM where_holds)")
    tables.run(f"CREATE OR REPLACE TABLE files AS SELECT * FROM all_files WHERE {' AND '.join(conditions)}")
    if tables.row("SELECT count(*) FROM files")[0] == 0:
        raise NotFoundError("nothing in the release is selected", "'lading ls DATASET@VERSION' lists what there is")


def where_ids(release_files: Path, where: str) -> Iterator[int]:
    """The file_ids for which an SQL expression holds. Raises UsageError for one that cannot be evaluated."""
    from duckdb import SQLExpression

    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": WHERE_MEMORY,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        },
    )
    try:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"SET allowed_paths = [{literal(release_files)}]")
        connection.execute(f"CREATE VIEW files AS SELECT * FROM read_parquet({literal(release_files)})")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        try:
            # This takes one expression, and nothing that would end it and begin another statement.
            SQLExpression(where)
            cursor = _interruptible(connection, f"SELECT file_id FROM files WHERE (\n{where}\n)")
            while rows := cursor.fetchmany(10_000):
                yield from (row[0] for row in rows)
        except duckdb.Error as error:
            reason = str(error).partition("\n")[0]
            raise UsageError(
                f"--where {where!r} cannot be evaluated: {reason}",
                "give one SQL expression over columns of files.parquet, such as \"size < 1000 AND path LIKE 'a/%'\"",
            ) from error
    finally:
        # After Ctrl-C the query may still be on its way out.
        with suppress(duckdb.Error):
            connection.close()


def _interruptible(connection: duckdb.DuckDBPyConnection, query: str) -> duckdb.DuckDBPyConnection:
    """Run a query that may take for ever: DuckDB would not look at Ctrl-C before its end."""
    running = Ahead(lambda: connection.execute(query))
    try:
        return running.result()
    except KeyboardInterrupt:
        connection.interrupt()
        raise


def glob_regex(pattern: str) -> str:
    """A glob as an RE2 regular expression for whole paths.

    `*` and `?` do not match `/`, `**/` matches any folders or none, `[a-z]` and `[!a-z]` one character. A pattern
    without `/` matches a name at any depth; one that matches a folder selects all that is below. Raises UsageError.
    """
    text = pattern.rstrip("/").removeprefix("./")
    if not text or text.startswith("/"):
        raise UsageError(f"the pattern {pattern!r} matches nothing", "give a path relative to the release's root")
    made = "" if "/" in text else "(?:.*/)?"
    position = 0
    while position < len(text):
        if text.startswith("**/", position) and (position == 0 or text[position - 1] == "/"):
            made += "(?:.*/)?"
            position += 3
        elif text.startswith("**", position):
            made += ".*"
            position += 2
        elif text[position] == "*":
            made += "[^/]*"
            position += 1
        elif text[position] == "?":
            made += "[^/]"
            position += 1
        elif text[position] == "[" and (end := text.find("]", position + 2)) > 0:
            inside = text[position + 1 : end]
            negated = inside[0] in "!^"
            members = re.sub(r"([\\\[\]^&~])", r"\\\1", inside[negated:])
            made += f"[^/{members}]" if negated else f"[{members}]"
            position = end + 1
        else:
            made += re.escape(text[position])
            position += 1
    try:
        re.compile(made)
    except re.error as error:
        raise UsageError(f"the pattern {pattern!r} is malformed: {error}", "write '[[]' for a bracket itself") from None
    return f"(?s){made}(?:/.*)?"


def _matches(pattern: str) -> str:
    return f"regexp_full_match(path, {literal(glob_regex(pattern))})"


def _load_paths(tables: Tables, paths: tuple[str, ...], scratch: Path) -> None:
    """Table `listed`: the selected paths. A path that is no entry of the release may be a folder of it."""
    with NdjsonWriter(scratch) as rows:
        for path in paths:
            rows.write({"path": path})
    tables.load("asked_lines", scratch, {"path": "VARCHAR"})
    tables.run("CREATE OR REPLACE TABLE asked AS SELECT DISTINCT path FROM asked_lines")
    scratch.unlink()
    tables.run(
        "CREATE OR REPLACE TABLE folders AS SELECT path || '/' AS prefix FROM asked ANTI JOIN all_files USING (path)"
    )
    tables.run(
        "CREATE OR REPLACE TABLE listed AS SELECT path FROM asked SEMI JOIN all_files USING (path) "
        "UNION SELECT a.path FROM all_files a JOIN folders f ON starts_with(a.path, f.prefix)"
    )
    missing = tables.rows(
        "SELECT rtrim(prefix, '/') FROM folders f "
        "WHERE NOT EXISTS (FROM listed l WHERE starts_with(l.path, f.prefix)) ORDER BY 1"
    )
    first = next(iter(missing), None)
    if first is not None:
        raise NotFoundError(
            f"the release has no {first[0]!r}", "take it off the list; 'lading ls DATASET@VERSION' lists what there is"
        )


def _load_ids(tables: Tables, ids: Iterator[int], scratch: Path) -> None:
    """Table `where_holds`: file_ids."""
    with NdjsonWriter(scratch) as rows:
        for number in ids:
            rows.write({"file_id": number})
    tables.load("where_lines", scratch, {"file_id": "BIGINT"})
    tables.run("CREATE OR REPLACE TABLE where_holds AS SELECT file_id FROM where_lines")
    scratch.unlink()
