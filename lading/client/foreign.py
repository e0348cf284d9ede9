"""Foreign: what stands in the folder where a release wants something else, and Lading did not put there.

A user's own file is never replaced without being asked for. What Lading wrote is known by the state. After a kill or
a power cut the state may lack the last files: one with the content of a release that was pulled here counts, too.
"""

from __future__ import annotations

import threading
from pathlib import Path

from lading.client.hashing import sha256_until
from lading.errors import ConflictError
from lading.names import INDEX_FILES
from lading.paths import printable
from lading.tables import Tables, literal

NAMED = 3
"""How many paths a message names."""


def held_links(tables: Tables, index: Path | None) -> None:
    """Table `held_links`: the links that the last complete pull made, whose release's index is in `index`."""
    held = (
        f"read_parquet({literal(index / INDEX_FILES)})"
        if index
        else "(SELECT NULL::VARCHAR AS path, NULL::VARCHAR AS target, NULL::VARCHAR AS type)"
    )
    tables.run(f"CREATE OR REPLACE TABLE held_links AS SELECT path, target FROM {held} WHERE type = 'symlink'")


def check_foreign(
    tables: Tables, old_indexes: list[Path], dest: Path, stop: threading.Event, *, overwrite: bool
) -> list[str]:
    """Raise ConflictError if the pull would replace what Lading did not write.

    With `overwrite` it may; then the files are returned that stand where a folder has to, for they have to go first.
    """
    tables.run(
        "CREATE OR REPLACE TABLE strangers AS SELECT path, type, target, size FROM present ANTI JOIN installed "
        "USING (path) WHERE type <> 'dir' AND NOT (type = 'symlink' AND path IN (SELECT path FROM held_links))"
    )
    if tables.row("SELECT count(*) FROM strangers")[0] == 0:
        return []
    _old_entries(tables, old_indexes)
    _check_folders(tables, dest, stop)
    # All folders above what is to be made: a file that stands in place of one is in the way as well.
    above = "regexp_replace(path, '/?[^/]*$', '')"
    rows = tables.rows(
        f"WITH RECURSIVE above(path) AS (SELECT DISTINCT {above} FROM todo UNION "
        f"SELECT DISTINCT {above} FROM above WHERE path <> '') "
        "SELECT s.path, s.type, a.path IS NOT NULL, list(DISTINCT o.sha256) FILTER (o.size = s.size) FROM strangers s "
        "LEFT JOIN above a USING (path) LEFT JOIN old_entries o ON o.path = s.path AND o.type = s.type "
        "WHERE (a.path IS NOT NULL OR s.path IN (SELECT path FROM todo)) "
        "GROUP BY s.path, s.type, s.target, a.path "
        "HAVING s.type = 'file' OR NOT "
        "coalesce(bool_or(o.target IS NOT DISTINCT FROM s.target AND o.path IS NOT NULL), false) ORDER BY s.path"
    )
    found = [
        (path, above_all)
        for path, kind, above_all, digests in rows
        if not (kind == "file" and digests and sha256_until(dest / path, stop) in digests)
    ]
    if found and not overwrite:
        raise ConflictError(
            f"{dest} has {_counted(len(found), 'file')} that Lading did not write and that differ from the release: "
            f"{named([path for path, _ in found])}",
            "move them away, or give --overwrite to replace them; nothing was changed",
        )
    return [path for path, above_all in found if above_all]


def _check_folders(tables: Tables, dest: Path, stop: threading.Event) -> None:
    """Raise ConflictError if a folder with files of the user's stands where a file or link has to: with `overwrite`
    too, for a folder is never removed with what it holds."""
    up = "regexp_replace({}, '/?[^/]*$', '')"
    rows = tables.rows(
        f"WITH RECURSIVE above(path, folder) AS (SELECT path, {up.format('path')} FROM strangers WHERE type = 'file' "
        f"UNION SELECT path, {up.format('folder')} FROM above WHERE folder <> '') "
        "SELECT a.folder, a.path, list(DISTINCT o.sha256) FILTER (o.size = s.size) FROM above a "
        "JOIN todo t ON t.path = a.folder AND t.type <> 'dir' JOIN strangers s ON s.path = a.path "
        "LEFT JOIN old_entries o ON o.path = s.path AND o.type = s.type GROUP BY a.folder, a.path ORDER BY ALL"
    )
    for folder, path, digests in rows:
        if not (digests and sha256_until(dest / path, stop) in digests):
            raise ConflictError(
                f"{dest / folder} is a folder that holds {path!r}, which Lading did not write, and the release has a "
                "file of that name",
                "move the folder away; nothing was changed",
            )


def changed_here(tables: Tables) -> list[str]:
    """Files and links that Lading wrote, that were changed since, and that the pull replaces."""
    return [
        path
        for (path,) in tables.rows(
            "SELECT path FROM todo SEMI JOIN present USING (path) SEMI JOIN installed USING (path) "
            "ANTI JOIN trusted USING (path) WHERE type = 'file' UNION ALL "
            "SELECT t.path FROM todo t JOIN present p USING (path) JOIN held_links h USING (path) "
            "WHERE p.type = 'symlink' AND p.target IS DISTINCT FROM h.target ORDER BY path"
        )
    ]


def named(paths: list[str]) -> str:
    """The first few paths of a list, and how many more there are."""
    more = len(paths) - NAMED
    return ", ".join(printable(path) for path in paths[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _old_entries(tables: Tables, old_indexes: list[Path]) -> None:
    """Table `old_entries`: what releases that were pulled here before had."""
    old = " UNION ALL ".join(
        f"SELECT path, type, target, size, sha256 FROM read_parquet({literal(folder / INDEX_FILES)})"
        for folder in old_indexes
    )
    none = (
        "SELECT NULL::VARCHAR AS path, NULL::VARCHAR AS type, NULL::VARCHAR AS target, NULL::BIGINT AS size, "
        "NULL::BLOB AS sha256 WHERE false"
    )
    tables.run(f"CREATE OR REPLACE VIEW old_entries AS {old or none}")
