"""Local: what the folder holds already, found by its hashes."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

from lading.client.assembly import Assemblies
from lading.client.plan import Entry, Target
from lading.client.progress import Progress
from lading.client.state import State
from lading.index import sha256_of
from lading.tables import Tables


def adopt(state: State, unknown: list[tuple[str, bytes, int]], threads: int) -> None:
    """Record the files among `unknown` (path, wanted SHA-256, size) that have the wanted content."""

    def look(file: tuple[str, bytes, int]) -> None:
        path = state.dest / file[0]
        before = path.lstat()
        if sha256_of(path) == file[1].hex():
            state.note_file(file[0], file[2], before.st_mtime_ns, file[1])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(look, unknown))


def copy_chunks(tables: Tables, state: State, assemblies: Assemblies, progress: Progress) -> None:
    """Copy `local_pieces` from other files of the folder. A chunk that is not what it was becomes a remote piece."""
    missed = []
    for source, source_offset, length, digest, seq, file_offset, *entry in tables.rows(
        "SELECT l.source, l.source_offset, l.length, l.chunk_sha256, l.seq, l.file_offset, "
        "l.path, t.size, t.sha256, t.mode, t.mtime, t.partial "
        "FROM local_pieces l JOIN todo t USING (path) ORDER BY l.source, l.source_offset"
    ):
        target = Target(Entry._make(entry), seq, file_offset)
        try:
            with (state.dest / source).open("rb") as file:
                file.seek(source_offset)
                data = file.read(length)
        except OSError:
            data = b""
        if hashlib.sha256(data).digest() != digest:
            missed.append((target.entry.partial, seq))
            continue
        assemblies.write(target, data)
        progress.made(length)
    if missed:
        tables.run("CREATE OR REPLACE TABLE missed (partial VARCHAR, seq INTEGER)")
        tables.connection.executemany("INSERT INTO missed VALUES (?, ?)", missed)
        tables.run(
            "INSERT INTO remote_pieces SELECT n.path, n.partial, n.seq, n.file_offset, n.length, n.chunk_sha256, "
            "lower(hex(n.shard)), n.frame_offset, n.frame_length, n.inner_offset "
            "FROM needed n SEMI JOIN missed USING (partial, seq)"
        )
