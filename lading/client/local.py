"""Local: what the folder holds already, found by its hashes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from lading.client.assembly import Assemblies
from lading.client.hashing import sha256_until
from lading.client.plan import Entry, Target
from lading.client.progress import Progress
from lading.client.state import State
from lading.parallel import ordered_map
from lading.tables import Tables


def adopt(state: State, unknown: Iterable[tuple[str, bytes, int]], threads: int, stop: threading.Event) -> bool:
    """Record the files among `unknown` (path, wanted SHA-256, size) that have the wanted content; whether any has."""

    def look(file: tuple[str, bytes, int]) -> bool:
        path = state.dest / file[0]
        try:
            before = path.lstat()
            right = sha256_until(path, stop) == file[1]
        except OSError:
            # It went meanwhile, or cannot be read: then it is not there for us.
            return False
        if right:
            state.note_file(file[0], file[2], before.st_mtime_ns, file[1])
        return right

    with ThreadPoolExecutor(threads) as pool:
        try:
            return sum(ordered_map(pool, look, unknown, 4 * threads)) > 0
        except BaseException:
            stop.set()
            raise


def copy_chunks(tables: Tables, state: State, assemblies: Assemblies, progress: Progress) -> None:
    """Copy `local_pieces` from other files of the folder. A chunk that is not what it was becomes a remote piece."""
    missed: list[tuple[str, int]] = []
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
    fetch_instead(tables, missed)


def fetch_instead(tables: Tables, missed: list[tuple[str, int]]) -> None:
    """Make chunks (name of the partial file, number) remote pieces that the folder turned out not to give."""
    if missed:
        tables.run("CREATE OR REPLACE TABLE missed (partial VARCHAR, seq INTEGER)")
        tables.connection.executemany("INSERT INTO missed VALUES (?, ?)", missed)
        tables.run(
            "INSERT INTO remote_pieces SELECT n.path, n.partial, n.seq, n.file_offset, n.length, n.chunk_sha256, "
            "lower(hex(n.shard)), n.frame_offset, n.frame_length, n.inner_offset "
            "FROM needed n SEMI JOIN missed USING (partial, seq)"
        )
